#!/bin/busybox sh
# How linux-BLOCK.img.gz and linux-BLOCK.sha256 came about: this is /init of a guest with busybox, the modules below from
# Debian's linux-image-6.1.0-56-amd64 in /m, and three disks of 10 MB that mkudffs of Debian 12 formatted:
#
#	mkudffs --utf8 --label=Kern --media-type=hd --blocksize=BLOCK IMAGE    (--udfrev=2.01 for 512, 1.02 for the others)
#
# Linux' own driver for UDF wrote the files, was told to forget them, and hashed them.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin
mount -t proc p /proc; mount -t devtmpfs d /dev; mount -t sysfs s /sys
cd /m
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk crc-itu-t cdrom nls_utf8 udf; do insmod $m.ko 2>&1; done
sleep 1
for d in vda vdb vdc; do
mount -t udf -o bs=$(case $d in vda) echo 512;; vdb) echo 2048;; vdc) echo 4096;; esac),iocharset=utf8 /dev/$d /mnt || { echo MOUNTFAIL $d; continue; }
cd /mnt
mkdir -p "Studie 1/Serie 2" Berichte leer d1/d2/d3/d4/d5
i=0
while [ $i -lt 260 ]; do
 case $((i%4)) in
 0) n="Studie 1/Serie 2/IM$i.dcm";; 1) n="Berichte/Befund für Öztürk $i.txt";; 2) n="d1/d2/d3/画像 $i";; 3) n="Studie 1/$i";; esac
 k=0; : > "$n"; while [ $k -lt $((i%13)) ]; do echo "line $k of file $i, which has some text in it so that it grows, and grows over blocks, $n" >> "$n"; k=$((k+1)); done
 [ $((i%20)) = 7 ] && dd if=/dev/zero bs=1000 count=$((i/2)) 2>/dev/null | tr '\0' "x" >> "$n"
 i=$((i+1))
done
dd if=/dev/urandom of=hole.bin bs=1024 count=8 seek=300 2>/dev/null
ln "Studie 1/3" "zweiter Name"
rm "Studie 1/7" "Berichte/Befund für Öztürk 9.txt"
i=0; while [ $i -lt 60 ]; do dd if=/dev/urandom of=frag$((i%2)).bin bs=3000 count=1 seek=$i conv=notrunc 2>/dev/null; sync; i=$((i+1)); done
cd /; umount /mnt
mount -t udf -o ro,bs=$(case $d in vda) echo 512;; vdb) echo 2048;; vdc) echo 4096;; esac),iocharset=utf8 /dev/$d /mnt
echo BEGIN $d; cd /mnt; find . -type f -exec sha256sum {} +; echo END $d; cd /; umount /mnt
done
sync; poweroff -f
