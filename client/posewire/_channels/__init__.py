"""Channels to the servers of a client, and what every call over one needs.

    Connections    connections    the servers: a channel to each, opened when it is first needed, and the credentials
                   addresses      the forms of an address, and which are of this machine
                   tls_files      certificates and keys, checked before they are used
                   access_tokens  the token, and the file that may hold it
                   kept_files     what files hold that may be replaced while a client is open
                   status         the exception of the SDK for a call that failed
                   forks          the check that this process may make calls

The settings are in `posewire.connection`.
"""
