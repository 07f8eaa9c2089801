#!/usr/bin/env python3
"""Makes corpus.img.gz: a volume written by ntfs-3g, with what only a driver writes (indexes of three levels, attribute
lists, compression, hard links, streams). Needs root, FUSE and ntfs-3g, so the image is kept and the tests only read it.

    ./corpus.py corpus.img.gz
"""
import gzip, os, random, subprocess, sys, tempfile

rng = random.Random(3)


def text(n, about):
    line = ("%s: the same line again and again. " % about).encode()
    return (line * (n // len(line) + 1))[:n]


def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def compressed(path):
    os.setxattr(path, "system.ntfs_attrib_be", b"\x00\x00\x08\x00")


def fill(top):
    # On a volume that is full but for single clusters, so that a file lies in many pieces and needs an attribute list.
    put(top + "crumbs/x", b"")
    free = os.statvfs(top).f_bavail * 4096
    put(top + "filler.bin", bytes(free - (5 << 20)))
    for i in range(1300):
        try:
            put(top + "crumbs/%d" % i, b"crumb" * 200)
        except OSError:
            break
    for i in range(0, i, 2):
        os.remove(top + "crumbs/%d" % i)
    try:
        put(top + "pieces.bin", b"".join(text(4096, "piece %d" % i) for i in range(560)))
    except OSError:
        pass  # what found room is the file
    os.remove(top + "filler.bin")
    for name in os.listdir(top + "crumbs"):
        os.remove(top + "crumbs/" + name)
    alphabets = ["abcdefghijklmnopqrstuvwxyz0123456789-_ ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "äöüßéèçñøåÆŒłžş",
                 "абвгдежзийклмнопрстуфхцчшщъыьэюя", "日本語漢字仮名交文検査画像結果報告書", "ابتثجحخدذرزسش", "😀🚀🏥🩻🧪💊🫀"]
    folders = ["", "Flat/", "Flat/second level/", "Röntgen/Грудь/胸部/", "DICOM/PAT00001/STUDY001/",
               "deep/" + "".join("level %02d/" % i for i in range(40))]
    for i in range(1150):
        name = "".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.choice([3, 8, 8, 20, 60])))
        name = name.strip(" .") + "%d.%s" % (i, rng.choice(["txt", "dcm", "pdf", "TXT", "日本"]))
        size = rng.choice([0, rng.randrange(600), rng.randrange(4096), 4096, 8192, rng.randrange(30000)])
        put(top + rng.choice(folders) + name, text(size, "file %d" % i))
    for i in range(850):
        put(top + "many/a file with a longer name, number %04d.txt" % i, b"number %d" % i)
    put(top + "empty folder/x", b"")
    os.remove(top + "empty folder/x")
    # Streams, on files with content and without, and on directories; so many that one record does not hold them.
    for i in range(5):
        put(top + "streams/host %d.txt" % i, text(3000, "host"))
        put(top + "streams/host %d.txt:Zone.Identifier" % i, b"[ZoneTransfer]\r\nZoneId=3\r\n")
        put(top + "streams/host %d.txt:большой поток" % i, text(70000, "stream %d" % i))
    put(top + "streams/empty host.txt", b"")
    put(top + "streams/empty host.txt:payload.exe", b"behind nothing")
    put(top + "streams/in a folder/x", b"x")
    put(top + "streams/in a folder:stream", text(33333, "a folder's stream"))
    put(top + "streams/many.txt", b"many")
    for i in range(150):
        put(top + "streams/many.txt:stream %03d" % i, b"payload %d " % i * 20)
    with open(top + "sparse.bin", "wb") as f:
        f.write(b"start"); f.seek(5 << 20); f.write(b"middle" * 100); f.seek((8 << 20) - 3); f.write(b"end")
    os.makedirs(top + "compressed")
    compressed(top + "compressed")
    for i in range(3):
        put(top + "compressed/text %d.txt" % i, b"".join(b"line %d of file %d\n" % (k, i) for k in range(9000)))
    put(top + "compressed/mixed.bin", text(70000, "mixed") + rng.randbytes(140000) + bytes(200000) + text(5000, "tail"))
    put(top + "compressed/small.txt", b"small")
    put(top + "compressed/zeros.bin", bytes(300000))
    put(top + "compressed/host.txt:compressed stream", text(90000, "compressed stream"))
    put(top + "links/one.txt", text(5000, "linked"))
    for name in ["links/two.txt", "Flat/three.txt", "links/a name that is rather long so that it takes its room.txt"]:
        os.link(top + "links/one.txt", top + name)
    put(top + "links/one.txt:stream", b"of all names")
    os.symlink("one.txt", top + "links/symbolic")
    for i in range(40):
        put(top + "gone %d.txt" % i, text(5000, "deleted"))
    for i in range(40):
        os.remove(top + "gone %d.txt" % i)


with tempfile.TemporaryDirectory() as work:
    image, mount = work + "/image", work + "/mount"
    os.mkdir(mount)
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["mkntfs", "-F", "-Q", "-q", "-L", "CORPUS", image], check=True, capture_output=True)
    subprocess.run(["ntfs-3g", "-o", "streams_interface=windows,compression", image, mount], check=True)
    try:
        fill(mount + "/")
    finally:
        subprocess.run(["umount", mount], check=True)
    with open(image, "rb") as f, open(sys.argv[1], "wb") as out, gzip.GzipFile("", "wb", 9, out, 0) as z:
        z.write(f.read())
