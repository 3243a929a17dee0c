"""Tokens and TLS, limits and rates, scheduling between streams.

In the order in which a connection, its calls and their frames meet them:

    tls                 certificates, which may be renewed while the server runs
    access              AccessControl, an interceptor: every call needs a token, if the server has any
      tokens            TokenFile and Caller: who a token belongs to, and what it allows
      refusals          log lines about calls that are refused
    awaited_requests    AwaitedRequests, an interceptor: how long, and for how many requests, the server waits
    call_rates          CallRates: questions, and calls that fail
    places              Places: streams and pictures at a time
    openings            Openings: streams opened per second
    decoding_shares     DecodingShares: the decoding threads, divided between callers
    reading_pace        ReadingPace: how fast the requests of one stream are read
    precedence          Precedence: which streams' frames go first under overload; `turns` has the steps they wait for

`rates` counts for all of them that limit something per second.
"""
