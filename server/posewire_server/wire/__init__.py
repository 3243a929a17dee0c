"""The boundary to protobuf: free functions that convert between messages and the server's own types.

`requests` checks everything that comes from clients: errors name the field, the value, the range and the remedy.
`responses` builds what is sent back. Tracking and inference never see a message.
"""
