#!/usr/bin/env python3
"""A second verifier of clearances, and of the log's checkpoints: it answers the test vectors and compares exit codes.

It is written from the specification in the comment of package kiosk/clearance, and shares no code with it: CBOR, P-256,
ML-DSA-65 (FIPS 204), Ed25519 (RFC 8032), the QR code's digits and the manifest's tree are all here, with nothing but
Python's own library. It is for tests: slow, and careless about the time that secrets take, since it has none.

    verify.py clearance.json checkpoint.json

Exit codes: 0 every answer is the one that the file wants; 1 one is not.
"""

import base64
import functools
import hashlib
import hmac
import json
import sys


class Malformed(Exception):
    pass


def need(condition, what="malformed"):
    if not condition:
        raise Malformed(what)


# --- CBOR, deterministic encoding only (RFC 8949 section 4.2.1) ---


class Bytes(bytes):
    """A CBOR byte string; text is str."""


def cbor_item(data, at, depth):
    need(depth < 8 and at < len(data))
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        value = info
    elif info in (24, 25, 26, 27) and major != 7:
        size = 1 << (info - 24)
        need(at + size <= len(data))
        value = int.from_bytes(data[at : at + size], "big")
        at += size
        need(value >= (24 if size == 1 else 1 << (4 * size)))  # the shortest form
    else:
        raise Malformed("indefinite length, or reserved")
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        need(at + value <= len(data))
        raw = data[at : at + value]
        if major == 2:
            return Bytes(raw), at + value
        try:
            return raw.decode("utf-8"), at + value
        except UnicodeDecodeError:
            raise Malformed("text")
    if major == 4:
        need(value <= len(data))
        out = []
        for _ in range(value):
            item, at = cbor_item(data, at, depth + 1)
            out.append(item)
        return out, at
    if major == 5:
        need(value <= len(data))
        out, last = {}, None
        for _ in range(value):
            begin = at
            key, at = cbor_item(data, at, depth + 1)
            need(isinstance(key, (int, str)) and not isinstance(key, bool))
            need(last is None or data[begin:at] > last)  # sorted by their encodings, and none twice
            last = data[begin:at]
            out[key], at = cbor_item(data, at, depth + 1)
        return out, at
    if major == 7 and info in (20, 21):
        return info == 21, at
    raise Malformed("tag, float or null")


def cbor(data):
    value, end = cbor_item(data, 0, 0)
    need(end == len(data), "bytes after the end")
    return value


def head(major, n):
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << (8 * size):
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")


def bstr(b):
    return head(2, len(b)) + b


def tstr(s):
    return head(3, len(s)) + s.encode()


def is_uint(v):
    return isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 64


def is_bytes(v, n):
    return isinstance(v, Bytes) and len(v) == n


def is_word(v, limit=64):
    return isinstance(v, str) and 0 < len(v) <= limit and all(" " < c <= "~" for c in v)


def is_code(v):
    return isinstance(v, str) and 0 < len(v) <= 32 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in v)


def keys(m, required, optional=()):
    need(isinstance(m, dict) and set(required) <= set(m) <= set(required) | set(optional), "keys")


# --- ES256 (FIPS 186-5, P-256) ---

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296, 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def p256_add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def p256_mul(k, point):
    out = None
    while k:
        if k & 1:
            out = p256_add(out, point)
        point, k = p256_add(point, point), k >> 1
    return out


def p256_point(x, y):
    point = int.from_bytes(x, "big"), int.from_bytes(y, "big")
    need(point[0] < P and point[1] < P and (point[1] ** 2 - point[0] ** 3 + 3 * point[0] - B) % P == 0, "not on the curve")
    return point


def es256(point, message, signature):
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != 64 or not 0 < r < N or not 0 < s <= N // 2:
        return False
    w, e = pow(s, -1, N), int.from_bytes(hashlib.sha256(message).digest(), "big")
    sum_ = p256_add(p256_mul(e * w % N, G), p256_mul(r * w % N, point))
    return sum_ is not None and sum_[0] % N == r


# --- ML-DSA-65 verification (FIPS 204, algorithms 3 and 8) ---

Q, D, K, L, ETA_TAU, GAMMA1, GAMMA2, BETA, OMEGA, CT = 8380417, 13, 6, 5, 49, 1 << 19, (8380417 - 1) // 32, 196, 55, 48


def brv(i):
    return int(f"{i:08b}"[::-1], 2)


ZETAS = [pow(1753, brv(i), Q) for i in range(256)]


def ntt(w):
    w, m, size = list(w), 0, 128
    while size >= 1:
        for start in range(0, 256, 2 * size):
            m += 1
            for j in range(start, start + size):
                t = ZETAS[m] * w[j + size] % Q
                w[j + size], w[j] = (w[j] - t) % Q, (w[j] + t) % Q
        size //= 2
    return w


def inverse_ntt(w):
    w, m, size = list(w), 256, 1
    while size < 256:
        for start in range(0, 256, 2 * size):
            m -= 1
            for j in range(start, start + size):
                t = w[j]
                w[j] = (t + w[j + size]) % Q
                w[j + size] = -ZETAS[m] * (t - w[j + size]) % Q
        size *= 2
    return [x * 8347681 % Q for x in w]


def reject_ntt(seed):
    stream, out, at = hashlib.shake_128(seed).digest(168 * 8), [], 0
    while len(out) < 256:
        c = stream[at] | stream[at + 1] << 8 | (stream[at + 2] & 0x7F) << 16
        at += 3
        if c < Q:
            out.append(c)
    return out


def sample_in_ball(seed):
    stream = hashlib.shake_256(seed).digest(2048)
    signs, at, c = int.from_bytes(stream[:8], "little"), 8, [0] * 256
    for i in range(256 - ETA_TAU, 256):
        while stream[at] > i:
            at += 1
        j = stream[at]
        at += 1
        c[i], c[j] = c[j], -1 if signs & 1 else 1
        signs >>= 1
    return c


def unpack(data, bits):
    n = int.from_bytes(data, "little")
    return [n >> (bits * i) & ((1 << bits) - 1) for i in range(len(data) * 8 // bits)]


def unpack_hint(data):
    hint, at = [[0] * 256 for _ in range(K)], 0
    for i in range(K):
        end = data[OMEGA + i]
        if end < at or end > OMEGA:
            return None
        for j in range(at, end):
            if j > at and data[j - 1] >= data[j]:
                return None
            hint[i][data[j]] = 1
        at = end
    return hint if not any(data[at:OMEGA]) else None


def use_hint(h, r):
    r0 = r % (2 * GAMMA2)
    if r0 > GAMMA2:
        r0 -= 2 * GAMMA2
    r1, r0 = (0, r0 - 1) if r - r0 == Q - 1 else ((r - r0) // (2 * GAMMA2), r0)
    if not h:
        return r1
    return (r1 + (1 if r0 > 0 else -1)) % 16


def ml_dsa_65(public, message, signature):
    if len(public) != 32 + 320 * K or len(signature) != CT + 640 * L + OMEGA + K:
        return False
    rho, t1 = public[:32], [unpack(public[32 + 320 * i : 352 + 320 * i], 10) for i in range(K)]
    commitment = signature[:CT]
    z = [[GAMMA1 - v for v in unpack(signature[CT + 640 * i : CT + 640 * (i + 1)], 20)] for i in range(L)]
    hint = unpack_hint(signature[CT + 640 * L :])
    if hint is None or max(abs(v) for row in z for v in row) >= GAMMA1 - BETA:
        return False
    tr = hashlib.shake_256(public).digest(64)
    mu = hashlib.shake_256(tr + b"\0\0" + message).digest(64)
    c = ntt(sample_in_ball(commitment))
    zs = [ntt(row) for row in z]
    packed = 0
    for i in range(K):
        acc = [0] * 256
        for j in range(L):
            a = reject_ntt(rho + bytes([j, i]))
            acc = [(x + y * w) % Q for x, y, w in zip(acc, a, zs[j])]
        t = ntt([v << D for v in t1[i]])
        w = inverse_ntt([(x - y * u) % Q for x, y, u in zip(acc, c, t)])
        for n, (h, r) in enumerate(zip(hint[i], w)):
            packed |= use_hint(h, r) << (4 * (256 * i + n))
    return hashlib.shake_256(mu + packed.to_bytes(128 * K, "little")).digest(CT) == commitment


# --- keys and trust files ---


def ec2_id(x, y):
    return hashlib.sha256(b"\xa4\x01\x02\x20\x01\x21" + bstr(x) + b"\x22" + bstr(y)).digest()[:8]


def akp_id(public):
    return hashlib.sha256(b"\xa3\x01\x07\x03\x38\x30\x20" + bstr(public)).digest()[:8]


def ascending(values):
    return all(a < b for a, b in zip(values, values[1:]))


EC2, LATEST = {1: 2, 3: -7, -1: 1}, 253402300799


def ec2(key):
    need(all(key[k] == v for k, v in EC2.items()) and is_bytes(key[-2], 32) and is_bytes(key[-3], 32))
    return ec2_id(key[-2], key[-3]), p256_point(key[-2], key[-3])


def parse_station(key):
    keys(key, [1, 3, -1, -2, -3, "iss", "nbf", "naf", "usage", "pq"], ["revoked_from_log"])
    kid, point = ec2(key)
    need(is_word(key["iss"]) and key["usage"] == "clearance" and is_uint(key["nbf"]) and is_uint(key["naf"]) and 0 < key["nbf"] < key["naf"] <= LATEST)
    need("revoked_from_log" not in key or is_uint(key["revoked_from_log"]))
    keys(key["pq"], [1, 3, -1])
    need(key["pq"][1] == 7 and key["pq"][3] == -49 and is_bytes(key["pq"][-1], 1952))
    return kid, dict(key, point=point, pq=bytes(key["pq"][-1]))


@functools.lru_cache
def parse_trust(data):
    need(len(data) <= 4 << 20 and data[:2] == b"\xd8\x62")
    outer = cbor(data[2:])
    need(isinstance(outer, list) and len(outer) == 4 and is_bytes(outer[0], 0) and outer[1] == {} and isinstance(outer[2], Bytes))
    payload, t = outer[2], cbor(outer[2])
    keys(t, ["v", "issued", "keys", "revoked_cti", "min_rules", "log_keys", "witnesses", "roots", "threshold"], ["demo", "qr_without_pq", "roster"])
    need(is_uint(t["v"]) and t["v"] > 0 and is_uint(t["issued"]) and 0 < t["issued"] <= LATEST)
    need(all(t[k] is True for k in ("demo", "qr_without_pq") if k in t))
    need(all(isinstance(t[k], list) for k in ("keys", "revoked_cti", "log_keys", "witnesses", "roots")))
    need(len(t["keys"]) <= 1000 and len(t["revoked_cti"]) <= 65536 and len(t["log_keys"]) <= 64 and len(t["witnesses"]) <= 64)
    need(all(is_bytes(i, 16) for i in t["revoked_cti"]) and ascending(t["revoked_cti"]))
    for name in ("log_keys", "witnesses"):
        need(all(is_word(k, 4096) for k in t[name]) and ascending([k.encode() for k in t[name]]))
    need(isinstance(t["min_rules"], dict) and len(t["min_rules"]) <= 64 and all(is_word(k) and is_uint(v) for k, v in t["min_rules"].items()))
    stations, roots = [parse_station(k) for k in t["keys"]], []
    for key in t["roots"]:
        keys(key, [1, 3, -1, -2, -3])
        roots.append(ec2(key))
    need(0 < len(roots) <= 16 and is_uint(t["threshold"]) and 1 <= t["threshold"] <= len(roots))
    need(ascending([k for k, _ in stations]) and ascending([k for k, _ in roots]))
    if "roster" in t:
        keys(t["roster"], ["keys", "threshold", "least"])
        need(isinstance(t["roster"]["keys"], list) and 0 < len(t["roster"]["keys"]) <= 16)
        for key in t["roster"]["keys"]:
            keys(key, [1, 3, -1, -2, -3])
        need(ascending([ec2(key)[0] for key in t["roster"]["keys"]]))
        need(is_uint(t["roster"]["least"]) and is_uint(t["roster"]["threshold"]) and 1 <= t["roster"]["threshold"] <= len(t["roster"]["keys"]))
    need(isinstance(outer[3], list) and len(outer[3]) <= 32)
    signers, good, points = [], 0, dict(roots)
    for entry in outer[3]:
        need(isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], Bytes) and entry[1] == {} and is_bytes(entry[2], 64))
        header = cbor(entry[0])
        keys(header, [1, 4])
        need(header[1] == -7 and is_bytes(header[4], 8))
        signers.append(header[4])
        if header[4] in points:  # another root's signature is the business of who has the file before
            signed = b"\x85" + tstr("Signature") + bstr(b"") + bstr(entry[0]) + bstr(b"pratique trust v1") + bstr(payload)
            need(es256(points[header[4]], signed, entry[2]), "root signature")
            good += 1
    need(ascending(signers) and good >= t["threshold"], "root signatures")
    t["stations"] = dict(stations)
    return t


# --- tokens ---


def parse_token(data):
    need(0 < len(data) <= 8192 and data[0] == 0xD2)
    e = cbor(data[1:])
    need(isinstance(e, list) and len(e) == 4 and all(isinstance(e[i], Bytes) for i in (0, 2, 3)) and len(e[3]) == 64)
    header, claims = cbor(e[0]), cbor(e[2])
    keys(header, [1, 4], [-70002])
    need(header[1] == -7 and is_bytes(header[4], 8) and header.get(-70002, True) is True)
    keys(claims, [1, 3, 4, 6, 7, -70001])
    body = claims[-70001]
    keys(body, range(1, 13), [13, 14])
    need(14 not in body or is_uint(body[14]) and body[14] > 0)
    need(is_word(claims[1]) and isinstance(claims[3], list) and 1 <= len(claims[3]) <= 8)
    need(all(is_code(c) for c in claims[3]) and ascending(claims[3]))
    need(is_uint(claims[4]) and is_uint(claims[6]) and 0 < claims[6] < claims[4] <= LATEST and claims[4] - claims[6] <= 72 * 3600)
    need(is_bytes(claims[7], 16) and any(claims[7]))
    need(is_uint(body[1]) and body[1] == 1 and is_uint(body[2]) and body[2] in ((2, 3) if 13 in body else (1,)))
    if 13 in body:
        over = body[13]
        need(isinstance(over, list) and len(over) == 2 and is_code(over[0]) and is_bytes(over[1], 8) and is_bytes(body[6], 8))
        need(any(over[1]) and any(body[6]) and over[1] != body[6] and claims[4] - claims[6] <= 4 * 3600)
    for label, size in ((3, 4), (4, 6), (5, 3)):
        need(isinstance(body[label], list) and len(body[label]) == size)
    medium, content, rules = body[3], body[4], body[5]
    need(all(is_uint(v) and v < 65536 for v in medium[:2]) and is_bytes(medium[2], 16) and is_uint(medium[3]))
    need(content[0] == 1 and is_bytes(content[1], 32) and all(is_uint(v) for v in content[2:]))
    need(content[2] <= 256 and content[3] <= 20_000_000 and content[4] <= 20_000_000 and content[5] < 1 << 63)
    need(is_word(rules[0]) and is_uint(rules[1]) and is_bytes(rules[2], 8) and is_bytes(body[6], 8) and is_uint(body[7]))
    need(is_bytes(body[8], 8) and any(body[8]) and is_uint(body[9]) and is_word(body[10], 32))
    need(body[11] in ("used", "deep") and body[12] in ("image", "block", "usb"))
    pq = None
    need(isinstance(e[1], dict) and set(e[1]) <= {11})
    if 11 in e[1]:
        pq = e[1][11]
        need(isinstance(pq, list) and len(pq) == 3 and isinstance(pq[0], Bytes) and pq[1] == {} and isinstance(pq[2], Bytes))
        pq_header = cbor(pq[0])
        keys(pq_header, [1, 4])
        need(pq_header[1] == -49 and pq_header[4] == body[8])
    return e, header, claims, pq


AAD = b"pratique clearance v1"


def signed_by(station, e, claims, pq, pq_needed):
    if not es256(station["point"], b"\x84" + tstr("Signature1") + bstr(e[0]) + bstr(AAD) + bstr(e[2]), e[3]):
        return False
    if pq is None:
        return not pq_needed
    if akp_id(station["pq"]) != claims[-70001][8]:
        return False
    message = b"\x86" + tstr("CounterSignatureV2") + bstr(e[0]) + bstr(pq[0]) + bstr(AAD) + bstr(e[2]) + b"\x81" + bstr(e[3])
    return ml_dsa_65(station["pq"], message, pq[2])


DIGITS = {17: 7, 15: 6, 13: 5, 10: 4, 8: 3, 5: 2, 3: 1}


def from_digits(text):
    need(len(text) <= 3200)
    text = "".join(c for c in text if c not in " -\r\n")
    need(len(text) <= 1600 and text.startswith("7781") and all(c in "0123456789" for c in text))
    text, out = text[4:], b""
    while text:
        size = 17 if len(text) >= 17 else len(text)
        need(size in DIGITS)
        value, count = int(text[:size]), DIGITS[size]
        need(value < 1 << (8 * count))
        out, text = out + value.to_bytes(count, "big"), text[size:]
    return out


# --- manifests ---


def tree(leaves):
    """The tree hash of RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def content_of(volumes):
    """The content claim of lists of leaves: [1, root, volumes, files, streams, bytes]."""
    records, files, streams, size = [], 0, 0, 0
    for place, leaves in enumerate(volumes):
        records.append(b"V" + place.to_bytes(4, "big") + len(leaves).to_bytes(8, "big") + tree(leaves))
        files += sum(leaf[:1] == b"F" for leaf in leaves)
        streams += sum(leaf[:1] == b"S" for leaf in leaves)
        size += sum(int.from_bytes(leaf[33:41], "big") for leaf in leaves)
    return [1, tree(records), len(volumes), files, streams, size]


def parse_manifest(data):
    magic = b"pratique manifest 1\n"
    need(data[: len(magic)] == magic and len(data) >= len(magic) + 20)
    id_, at = data[len(magic) : len(magic) + 16], len(magic) + 20
    volumes = []
    count = int.from_bytes(data[at - 4 : at], "big")
    need(count <= 256)
    for _ in range(count):
        need(at + 8 <= len(data))
        n = int.from_bytes(data[at : at + 8], "big")
        at += 8
        need(n * 73 <= len(data) - at)
        leaves = [data[at + 73 * i : at + 73 * (i + 1)] for i in range(n)]
        at += 73 * n
        need(all(leaf[:1] in (b"F", b"S", b"D") for leaf in leaves) and ascending([leaf[1:33] for leaf in leaves]))
        need(all(leaf[33:] == bytes(40) for leaf in leaves if leaf[:1] == b"D"))
        volumes.append(leaves)
    need(at == len(data))
    return id_, content_of(volumes)


def content_of_files(id_, files):
    leaves = []
    for path, text in files.items():
        data = text.encode()
        leaves.append(b"F" + hmac.digest(id_, path.encode(), "sha256") + len(data).to_bytes(8, "big") + hashlib.sha256(data).digest())
    return content_of([sorted(leaves, key=lambda leaf: leaf[1:33])])


# --- the answer ---


def same_medium(cleared, seen, id_):
    vid, pid, sectors = seen.get("vid", 0), seen.get("pid", 0), seen.get("sectors", 0)
    if sectors and sectors != cleared[3]:
        return False
    if (vid or pid) and (cleared[0] or cleared[1]) and (vid, pid) != (cleared[0], cleared[1]):
        return False
    if seen.get("serial") and any(cleared[2]):
        return hashlib.sha256(b"pratique serial v1\0" + id_ + seen["serial"].encode()).digest()[:16] == cleared[2]
    return True


def answer(v, case):
    try:
        trust = parse_trust(bytes.fromhex(v["trust_files"][case["trust"]]))
    except Malformed:
        return 1
    manifest = None
    try:
        if case.get("manifest"):
            manifest = parse_manifest(bytes.fromhex(v["manifests"][case["manifest"]]))
        qr = "digits" in case
        e, header, claims, pq = parse_token(from_digits(case["digits"]) if qr else bytes.fromhex(case.get("token", "")))
        need(not qr or pq is None)
    except Malformed:
        return 9
    demo, body, id_ = -70002 in header, claims[-70001], bytes(claims[7])
    if (demo or "demo" in trust) and not case.get("allow_demo"):
        return 8
    station = trust["stations"].get(header[4])
    if station is None or station["iss"] != claims[1] or demo != ("demo" in trust):
        return 7
    if not signed_by(station, e, claims, pq, not qr or "qr_without_pq" not in trust):
        return 9
    if manifest is not None and manifest != (id_, body[4]):
        return 9
    if body[7] >= station.get("revoked_from_log", 1 << 64) or claims[7] in trust["revoked_cti"] or body[5][1] < trust["min_rules"].get(body[5][0], 0):
        return 6
    now = max(case["now"], case.get("not_before", 0), trust["issued"])
    if now >= claims[4] or claims[6] > now + 300 or not station["nbf"] <= claims[6] <= station["naf"]:
        return 5
    if 13 in body and not case.get("allow_override"):
        return 11
    if case.get("class") and case["class"] not in claims[3]:
        return 4
    if "medium" in case and not same_medium(body[3], case["medium"], id_):
        return 10
    if content_of_files(id_, v["contents"][case["content"]]) != body[4]:
        return 3
    if now - trust["issued"] > 30 * 24 * 3600:
        return 12
    return 0


# --- the log's checkpoints: signed notes with Ed25519 (c2sp.org/signed-note, RFC 8032) ---

EP, EL = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
ED = -121665 * pow(121666, -1, EP) % EP


def ed_point(data):
    y, sign = int.from_bytes(data, "little") & ((1 << 255) - 1), data[31] >> 7
    need(y < EP)
    x2 = (y * y - 1) * pow(ED * y * y + 1, -1, EP) % EP
    x = pow(x2, (EP + 3) // 8, EP)
    if (x * x - x2) % EP:
        x = x * pow(2, (EP - 1) // 4, EP) % EP
    need((x * x - x2) % EP == 0 and not (x == 0 and sign))
    return (EP - x if x & 1 != sign else x), y


def ed_add(a, b):
    t = ED * a[0] * b[0] * a[1] * b[1] % EP
    return (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, EP) % EP, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, EP) % EP


def ed_mul(k, point):
    out = (0, 1)
    while k:
        if k & 1:
            out = ed_add(out, point)
        point, k = ed_add(point, point), k >> 1
    return out


def ed25519(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= EL:
        return False
    base = ed_point((4 * pow(5, -1, EP) % EP).to_bytes(32, "little"))
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % EL
    return ed_mul(s, base) == ed_add(ed_point(signature[:32]), ed_mul(h, ed_point(public)))


def checkpoint(key, text):
    """Returns (size, root) of a checkpoint that the key signed."""
    name, hash_, public = key.split("+", 2)
    public = base64.b64decode(public, validate=True)
    need(public[0] == 1 and len(public) == 33)
    need(hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() == hash_)
    body, found, signatures = text.rpartition("\n\n")
    need(found and signatures.endswith("\n"))
    body += "\n"
    good = False
    for line in signatures[:-1].split("\n"):
        need(line.startswith("\u2014 ") and line.count(" ") == 2)
        _, signer, raw = line.split(" ")
        raw = base64.b64decode(raw, validate=True)
        if signer == name and raw[:4].hex() == hash_:
            need(ed25519(public[1:], body.encode(), raw[4:]))
            good = True
    lines = body.split("\n")
    need(good and len(lines) == 4 and lines[0] == name and lines[1].isdigit() and str(int(lines[1])) == lines[1])
    root = base64.b64decode(lines[2], validate=True)
    need(len(root) == 32 and base64.b64encode(root).decode() == lines[2])
    return int(lines[1]), root


def checkpoint_answer(case, leaves):
    try:
        size, root = checkpoint(case["key"], case["text"])
        need(size == len(leaves) and root == tree(leaves))
    except (Malformed, ValueError):
        return 9
    return 0


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        v = json.load(f)
    with open(sys.argv[2], encoding="utf-8") as f:
        logs = json.load(f)
    wrong = 0
    for case in v["cases"]:
        got = answer(v, case)
        if got != case["exit"]:
            wrong += 1
            print(f'{case["name"]}: exit code {got}, want {case["exit"]}')
    leaves = [bytes.fromhex(leaf) for leaf in logs["leaves"]]
    for case in logs["cases"]:
        got = checkpoint_answer(case, leaves)
        if got != case["exit"]:
            wrong += 1
            print(f'checkpoint, {case["name"]}: exit code {got}, want {case["exit"]}')
    print(f'{len(v["cases"])} clearances and {len(logs["cases"])} checkpoints answered, {wrong} wrong')
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
