"""Bad replies to a listing."""

import gzip
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.jobs.storage.replies.fault_server import Reply, Request, Script, Spoil
from tests.jobs.storage.replies.general import Kind

_count = itertools.count()
_START = b"</EncodingType>"  # a place between the elements of the result
_CUT, _WHOLE = b"<IsTruncated>true</IsTruncated>", b"<IsTruncated>false</IsTruncated>"
_TOKEN = re.compile(rb"<NextContinuationToken>.*?</NextContinuationToken>")
_ENTRY = re.compile(rb"<Contents>.*?</Contents>")
_DECLARATION = b'encoding="UTF-8"?>'


def _text(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda _, good: replace(good, body=change(good.body))


def _replaced(pattern: bytes, new: bytes) -> Spoil:
    return _text(lambda body: re.sub(pattern, new, body))


def _inserted(*elements: bytes) -> Spoil:
    return _text(lambda body: body.replace(_START, _START + b"".join(elements), 1))


def _entry(key: bytes, size: bytes = b"1", etag: bytes = b'"e"') -> bytes:
    return b"<Contents><Key>%b</Key><Size>%b</Size><ETag>%b</ETag></Contents>" % (key, size, etag)


def _marker(fields: bytes) -> Spoil:
    """Put the empty object that stands for the listed folder before the others."""

    def spoil(request: Request, good: Reply) -> Reply | Script:
        if "continuation-token" in request.query:
            return good
        entry = b"<Contents><Key>%b</Key>%b</Contents>" % (_prefix(request), fields)
        return _inserted(entry)(request, good)

    return spoil


def _with_token(body: bytes, token: bytes) -> bytes:
    """Say that there is more, with this token."""
    body = _TOKEN.sub(b"", body.replace(_WHOLE, _CUT))
    return body.replace(_CUT, _CUT + b"<NextContinuationToken>%b</NextContinuationToken>" % token)


def _emptied(body: bytes) -> bytes:
    return _ENTRY.sub(b"", re.sub(rb"<CommonPrefixes>.*?</CommonPrefixes>", b"", body))


def _fresh_token(body: bytes) -> bytes:
    return _with_token(body, b"token-%d" % next(_count))


def _prefix(request: Request) -> bytes:
    return request.query.get("prefix", "").encode()


_BOMB = (
    b'<!DOCTYPE l [<!ENTITY a "'
    + b"x" * 1000
    + b'">'
    + b"".join(
        b'<!ENTITY a%d "%b">' % (i, b"&a%b;" % (b"%d" % (i - 1) if i else b"") * 10)
        for i in range(8)
    )
    + b"]><ListBucketResult><Name>&a7;</Name></ListBucketResult>"
)


def _kinds() -> Iterable[tuple[str, Spoil]]:
    yield "no IsTruncated", _replaced(rb"<IsTruncated>.*?</IsTruncated>", b"")
    yield "cut, without a token", _text(lambda body: _TOKEN.sub(b"", body.replace(_WHOLE, _CUT)))
    yield "cut, with an empty token", _text(lambda body: _with_token(body, b""))
    yield "a result of nothing", _text(lambda _: b"<ListBucketResult></ListBucketResult>")
    yield (
        "a listing in the first version's form",
        _replaced(
            rb"<IsTruncated>.*?</IsTruncated>(<NextContinuationToken>.*?</NextContinuationToken>)?",
            b"<NextMarker>x</NextMarker><IsTruncated>true</IsTruncated>",
        ),
    )
    yield "IsTruncated in capitals", _replaced(b"<IsTruncated>true<", b"<IsTruncated>TRUE<")
    yield "a key outside the prefix", _inserted(_entry(b"zzz/other"))
    yield "a key before the prefix", _inserted(_entry(b"\x21"))
    yield (
        "keys out of order",
        lambda request, good: _inserted(
            *(_entry(_prefix(request) + key) for key in (b"c", b"b/x", b"a"))
        )(request, good),
    )
    yield (
        "a key twice",
        lambda request, good: _inserted(*[_entry(_prefix(request) + b"!")] * 2)(request, good),
    )
    yield "an entry without anything", _inserted(b"<Contents></Contents>")
    yield (
        "an entry without a key",
        _inserted(b'<Contents><Size>1</Size><ETag>"e"</ETag></Contents>'),
    )
    for field in (b"Size", b"ETag", b"Key"):
        name = field.decode()
        yield f"entries without {name}", _replaced(rb"<%b>.*?</%b>" % (field, field), b"")
        yield (
            f"entries with an empty {name}",
            _replaced(rb"<%b>.*?</%b>" % (field, field), b"<%b/>" % field),
        )
    for size in (b"-1", b"many", b"1.5", b"0x1F", b"1 2", b"9" * 30):
        yield (
            f"the size {size.decode()}",
            _replaced(rb"<Size>.*?</Size>", b"<Size>%b</Size>" % size),
        )
    yield "weak ETags", _replaced(rb"<ETag>.*?</ETag>", b'<ETag>W/"1"</ETag>')
    yield (
        "a time that is none",
        _replaced(rb"<LastModified>.*?</LastModified>", b"<LastModified>soon</LastModified>"),
    )
    yield (
        "a folder outside the prefix",
        _inserted(b"<CommonPrefixes><Prefix>zzz/</Prefix></CommonPrefixes>"),
    )
    yield "a folder without a name", _inserted(b"<CommonPrefixes></CommonPrefixes>")
    yield "a page of HTML", _text(lambda _: b"<html><body>hello</body></html>")
    yield "a page of broken HTML", _text(lambda _: b"<html><br>hello")
    yield "JSON", _text(lambda _: b'{"Contents": []}')
    yield "no text", _text(lambda _: b"")
    yield "spaces", _text(lambda _: b"   \n")
    yield "half the XML", _text(lambda body: body[: len(body) // 2])
    yield "the XML without its end", _text(lambda body: body[:-5])
    yield "XML twice", _text(lambda body: body + body)
    yield "bytes that are no UTF-8", _inserted(b"<Note>\xff\xfe\x80</Note>")
    yield "a NUL", _inserted(b"<Note>\0</Note>")
    yield (
        "UTF-16 declared, UTF-8 sent",
        _text(lambda body: body.replace(_DECLARATION, b'encoding="UTF-16"?>')),
    )
    yield (
        "a charset that does not exist",
        _text(lambda body: body.replace(_DECLARATION, b'encoding="x-none"?>')),
    )
    yield "compressed XML", _text(gzip.compress)
    yield "an entity that grows", _text(lambda _: _BOMB)
    yield (
        "an entity of a file",
        _text(lambda _: b'<!DOCTYPE l [<!ENTITY f SYSTEM "file:///etc/passwd">]><l>&f;</l>'),
    )
    yield (
        "another document",
        _text(lambda _: b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"),
    )
    yield (
        "an error with HTTP 200",
        lambda _request, _good: Reply(
            200, {}, b"<Error><Code>InternalError</Code><Message>m</Message></Error>"
        ),
    )


def _harmless() -> Iterable[tuple[str, Spoil]]:
    yield "a byte order mark", _text(lambda body: b"\xef\xbb\xbf" + body)
    yield "no namespace", _replaced(rb' xmlns=".*?"', b"")
    yield "another namespace", _replaced(rb'xmlns=".*?"', b'xmlns="http://example.com/"')
    yield "a wrong KeyCount", _replaced(rb"<KeyCount>.*?<", b"<KeyCount>77<")
    yield "unknown elements", _inserted(b"<Future><Key>x</Key></Future>")
    yield "no LastModified", _replaced(rb"<LastModified>.*?</LastModified>", b"")
    yield "no IsTruncated at the end", _replaced(_WHOLE, b"")
    yield "a folder's marker", _marker(b"<Size>0</Size><ETag>&quot;e&quot;</ETag>")
    yield "a folder's marker without ETag", _marker(b"<Size>0</Size>")
    yield "a folder's marker with an empty ETag", _marker(b"<Size>0</Size><ETag/>")
    yield "a folder's marker without Size", _marker(b"<ETag>&quot;e&quot;</ETag>")
    yield "a folder's marker without anything", _marker(b"")
    yield "a comment", _inserted(b"<!-- <Contents><Key>x</Key></Contents> -->")


def _misleading() -> Iterable[tuple[str, Spoil]]:
    yield "the same token for ever", _text(lambda body: _with_token(body, b"a"))
    yield "the same page for ever", _text(_fresh_token)
    yield "empty pages for ever", _text(lambda body: _fresh_token(_emptied(body)))
    yield "empty pages, one token", _text(lambda body: _with_token(_emptied(body), b"a"))


LISTINGS: tuple[Kind, ...] = (
    *(Kind(f"listing: {name}", spoil, ("LIST",)) for name, spoil in _kinds()),
    *(
        Kind(f"listing: {name}", spoil, ("LIST",), outcome="misleading")
        for name, spoil in _misleading()
    ),
    *(
        Kind(f"listing: {name}", spoil, ("LIST",), outcome="harmless")
        for name, spoil in _harmless()
    ),
)
