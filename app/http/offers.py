"""A request that offers to go on in another protocol (h2c, as Java's client does at first) is answered in this one."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Declining(HttpToolsProtocol):
    """uvicorn's protocol, which speaks nothing but HTTP/1.

    What stands behind such a head the parser leaves to the other protocol, a body too: that would be lost, or be taken
    for the next request. So the head is parsed once more, without the offer, and then what stands behind it; by another
    parser, since one has closed its ears behind a request that is the last on its connection.
    """

    __slots__ = ("_plain",)

    def feed(self, data: bytes) -> None:
        """Parse it all. Raises HttpParserError."""
        while data:
            self._plain = b""
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as offer:
                if not self._plain:
                    return
                data = self._plain + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own

    def offers(self) -> bool:
        """Whether the head that is whole now makes an offer, and will come again without it."""
        if not self.parser.should_upgrade() or (method := self.parser.get_method()) == b"CONNECT":
            return False  # to connect elsewhere is an offer by itself
        lines = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        version = self.parser.get_http_version().encode()
        self._plain = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))
        return True
