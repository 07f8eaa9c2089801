// Package clearance says what was cleared, signs it, and checks it. This comment is the specification of the formats: the
// token, the digits of its QR code, the manifest, and the trust file, all in version 1.
//
// It trusts the keys in a trust file, and the caller about which trust file is the right one. It trusts nothing in a token
// or a manifest that is not signed. It reads no medium, opens no file and asks no clock: what it needs is given to it.
//
// What is not told here is refused. Every CBOR item is in the core deterministic encoding (RFC 8949 section 4.2.1); a
// reader decodes it, encodes it again and takes only what comes out the same. No tag, no indefinite length, no unknown or
// repeated key, no byte after the end. Texts are one to 64 printable ASCII characters without a space unless said
// otherwise. Times are Unix seconds.
//
// # Token
//
// A token is a CWT (RFC 8392) in a tagged COSE_Sign1 (RFC 9052), signed with ES256 on P-256. Its external_aad is the text
// "pratique clearance v1". Of the two values of s that make a good ECDSA signature the smaller is written and accepted.
//
//	protected    {1: -7, 4: key id, ? -70002: true}     -70002 marks a demonstration key
//	unprotected  {? 11: countersignature}
//	payload      claims
//	signature    64 bytes
//
// A key id is the first 8 bytes of the key's SHA-256 thumbprint (RFC 9679; for ML-DSA keys over kty, alg and pub). The
// countersignature is the full form of RFC 9338, version 2: protected {1: -49, 4: key id}, no unprotected header, ML-DSA-65
// over the same external_aad. It must be in the file form of a token. The QR form is the same token without it; a trust
// file may refuse that form.
//
//	claims = {
//	   1: text               issuer: the station's name
//	   3: [1*8 text]         audience: equipment classes, sorted; 1 to 32 of a-z 0-9 and '-'
//	   4: time               expires, at most 72 hours after
//	   6: time               issued
//	   7: 16 bytes           id, random, not all zero
//	  -70001: {
//	     1: 1                version
//	     2: 1 / 2 / 3        verdict of the scan: cleared; with 13, and never without it, not cleared or could not check
//	     3: [vendor, product, 16 bytes, sectors]
//	                         the medium: USB ids, 0 for an image; SHA-256("pratique serial v1" ‖ 0 ‖ id ‖ serial number)
//	                         cut to 16 bytes, or zero; size in whole units of 512 bytes
//	     4: [1, 32 bytes, volumes, files, streams, bytes]
//	                         the content: 1 for the tree told below, its root, and what is in it
//	     5: [text, version, 8 bytes]
//	                         the rule pack: name, version, the first bytes of its SHA-256
//	     6: 8 bytes          pseudonym of the person who asked for it
//	     7: uint             place in the station's log
//	     8: 8 bytes          id of the post-quantum key, which the countersignature must carry
//	     9: uint             version of the station's trust file
//	    10: text             result of the station's self-test, "none" until there is one
//	    11: "used" / "deep"  whether unallocated space was scanned too
//	    12: "image" / "block" / "usb"
//	                         how the station saw the medium
//	  ? 13: [text, 8 bytes]  override: two persons let the medium through although the scan did not clear it. The reason, 1 to 32
//	                         of a-z 0-9 and '-', and the pseudonym of who confirmed it, which is not the one of 6; neither is
//	                         zero. An override holds at most 4 hours
//	  ? 14: uint             how many findings did not bar the medium because two persons of the station's security team
//	                         agreed that a rule is wrong about that content; at least 1
//	  }
//	}
//
// The leaf of the station's log is the text "pratique clearance v1", a zero byte, and the claims without 7 of the inner
// map. It is appended first; its place then goes into the claims, and those are signed. So a token alone is enough to
// rebuild its leaf.
//
// The short code of a clearance is the first 40 bits of the id in Crockford's base 32. It is an index and proves nothing.
//
// # QR code
//
// Digits only, since a keyboard scanner types those right on every layout, in numeric mode, at most version 20 at level M.
// "7781", then the token in its QR form, 7 bytes at a time as a big-endian number in 17 digits; what is left at the end,
// 1 to 6 bytes, takes 3, 5, 8, 10, 13 or 15 digits. A number that is too large for its bytes is refused. Spaces, hyphens
// and line ends between digits are ignored.
//
// # Manifest
//
// A manifest lists what is on the medium and holds no name. Each file, each alternate data stream and each directory in
// which nothing is, is one leaf of 73 bytes:
//
//	kind        'F', 'S', or 'D'
//	key         HMAC-SHA256(id, path)
//	size        8 bytes, big-endian; 0 for 'D'
//	hash        SHA-256 of the content; zero for 'D'
//
// The path is the one inside the volume, as stored: UTF-16 names as WTF-8, other names as their bytes, no normalisation,
// no 8.3 alias, joined with '/', no slash in front; a stream's is its file's, ':' and its name. Leaves are in strictly
// ascending order of their keys, so no path is there twice. Not listed are the directory "System Volume Information" if it
// is empty, and in it the files WPSettings.dat and IndexerVolumeGuid of at most 128 bytes, because Windows writes these
// on every stick that it sees. A manifest has at most twenty million leaves and 256 volumes.
//
// The root of a volume is the RFC 6962 tree hash over its leaves. The content root is the same over one record for each
// volume, in the order in which they lie on the medium: 'V', the volume's place (4 bytes, from 0), its number of leaves
// (8 bytes), its root.
//
// The file is "pratique manifest 1" and a line feed, the id, the number of volumes (4 bytes), and for each the number of
// leaves (8 bytes) and the leaves. It carries no signature: its content root and id must be those of the token.
//
// # Trust file
//
// A trust file is a tagged COSE_Sign (RFC 9052) with empty headers, external_aad "pratique trust v1", and signatures by
// root keys: each {1: -7, 4: key id} and ES256 with the smaller s, in ascending order of key ids. Every signature by a root
// that the file lists must be good, and there must be at least as many as its threshold says. Signatures by others are for
// who has the file before: a file may take the place of an older one only if enough of the older one's roots signed it,
// its version is higher and its time of issue not earlier.
//
//	payload = {
//	  "v": uint              version, from 1, growing
//	  "issued": time         no verifier's time is earlier than this
//	  ? "demo": true         the stations are demonstrations
//	  ? "qr_without_pq": true
//	                         the QR form of a token is enough
//	  "keys": [station]      in order of their key ids
//	  "revoked_cti": [16 bytes]
//	                         ids of clearances that were taken back, sorted
//	  "min_rules": {text: uint}
//	                         for a rule pack's name the least version that is still good enough
//	  "log_keys": [text]     keys of the stations' logs (golang.org/x/mod/sumdb/note), sorted
//	  "witnesses": [text]    keys of who countersigns the logs, sorted
//	  "roots": [root]        in order of their key ids
//	  "threshold": uint
//	  ? "roster": {"keys": [root], "threshold": uint, "least": uint}
//	                         who signs the roster, and the version of the oldest one that is still good enough
//	}
//	root    = {1: 2, 3: -7, -1: 1, -2: x, -3: y}
//	station = root and {"iss": text, "nbf": time, "naf": time, "usage": "clearance",
//	           "pq": {1: 7, 3: -49, -1: ML-DSA-65 public key}, ? "revoked_from_log": uint}
//
// A token's time of issue must lie from nbf to naf. revoked_from_log takes back all tokens from that place in the
// station's log on. It is exact as long as the key was not stolen: a thief can write any place. Then it is 0.
//
// A file to which signatures are still to be added has the same form with fewer of them. The fingerprint that its signers
// compare is taken over the payload, the one of the roots over {"roots": …, "threshold": …} of it.
//
// # Roster
//
// Who may do what at a site's stations is a text (package kiosk/staff), signed like a trust file: a tagged COSE_Sign with empty
// headers and the text as its payload, external_aad "pratique roster v1". The keys and the threshold are those under "roster" in
// the trust file in force; the rules for signatures are the same. Devices do not read it.
//
// # Enrolment request
//
// A station's request to be put into the trust file is a tagged COSE_Sign1 with the protected header {1: -7, 4: key id}, no
// unprotected one, external_aad "pratique enrolment v1", signed by the key that it asks for (ES256, the smaller s):
//
//	payload = {"v": 1, "key": station, "log": text}     without revoked_from_log; "log" is the key of the station's log
//
// # Fingerprints
//
// A fingerprint is a SHA-256: of a request's payload, of a root's COSE_Key, or as told above. For people it is six words for
// its first 96 bits; each word is 16 of them, big-endian, as five letters: a consonant of bdfghjklmnprstvz for 4 bits, a
// vowel of aiou for 2, and so on. A request's whole fingerprint is also a QR code: "7782" and the digits of its 32 bytes,
// as a token's. A root's public key as text is "pratique-root-" and its compressed point (33 bytes) in base64url.
//
// # Checking
//
// Verify looks in this order, and the first thing that is wrong is the answer: structure (9); a demonstration key (8);
// the station, by key id and name, in the trust file (7); signatures, and the manifest if it is there (9); the station's
// key, the clearance or its rule pack taken back (6); time (5); override (11); equipment class (4); the medium (10); its
// content (3); a trust file older than 30 days, or streams that cannot be seen (12). The numbers are exit codes. The time
// is the latest of the clock, what the verifier was told, and the trust file's time of issue; a station's clock may be
// five minutes ahead.
//
// # Example
//
// The station "kiosk-1" has the P-256 private key 0101…01 (32 bytes), the ML-DSA-65 seed 0202…02, and cleared an image of
// 8 sectors for "imaging" in which one volume holds one file, "a.txt", of the five bytes "hello". The manifest:
//
//	7072617469717565206d616e696665737420310a0f0102030405060708090a0b0c0d0e0f000000010000000000000001
//	464780495806f9a361f6cdbad3f0b52726e2c9ea588dd9b9175da478a27d675c4600000000000000052cf24dba5fb0a3
//	0e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
//
// The token in its QR form:
//
//	d2844da201260448148c9ba1cede54ada058bba601676b696f736b2d31038167696d6167696e67041a6b01c000061a6b
//	014f8007500f0102030405060708090a0b0c0d0e0f3a00011170ac010102010384000050000000000000000000000000
//	0000000008048601582003eea96f0959fefc57c8a496ecab40771b372a0401bc208f390f321b0530c595010100050583
//	68626173656c696e65014800000000000000000648000000000000000007030848544570e4cf54092d09010a646e6f6e
//	650b64757365640c65696d6167655840f59b645f0f0b4d095b6ef08b1c0e5a6d770514ce8b8fcc5ffcf15c30ddc45956
//	1be385453f8f6e2db30d3bb9c60f3c2ca80c92bf660febfcecba129238e0b9a2
//
// and its digits:
//
//	778159255214074570244202887924622169262383480223876044929110023186770733137961281794491852910784
//	549683876300492581311638273223772920564288020084884455260365702826896153644858000011744163924490
//	056406456454356800000000000000000000000000000000000000003443562940009011522834467161717720980430
//	906684820310131940813200488323004567346076055314026334730000552123763158532481138621441281202661
//	983231672320000002697776332800000000000001795023313265931644952365398707293654831084767370503285
//	324811027008331332741675771094364328252015889811803312267276999952453350110915130567627018236351
//	53658025145950708516159403720642261964095574879651037505853873939121499322020419228776866
//
// Its short code is 1W0G40R4, and the hash of its leaf in the log (RFC 6962) is
//
//	f2704349b985fd386c4900eea5dcde088d07892f53a1abc03b334b3d3b1c62ff
package clearance
