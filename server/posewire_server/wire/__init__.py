"""The boundary to protobuf: free functions between messages and the types of the server.

Nothing behind it sees a message. Whatever comes from a client is checked in `requests`: the error names the field, the
value, the range and the remedy. `responses` writes what goes back.
"""
