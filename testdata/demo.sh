#!/bin/sh
# The main job from end to end on sample sticks: screen, clear, check, tamper, check again, read the log.
# Usage: testdata/demo.sh BIN
set -eu
bin=$1
work=demo
rm -rf "$work"
mkdir -p "$work/sticks" "$work/device"

say() { printf '\n== %s\n' "$*"; }

# screen NAME WANT: one line with the verdict, the reasons below it; stops if the exit code is not the one that belongs
# to the verdict.
screen() {
	code=0
	"$bin/pratique" screen --state "$work/state" --out "$work/out/$1" "$work/sticks/$1.img" >"$work/$1.txt" 2>"$work/$1.err" || code=$?
	sed "s|^$work/sticks/$1.img: |$1: |" "$work/$1.txt"
	cat "$work/$1.err" >&2
	[ "$code" = "$2" ] || { echo "demo: error: screening $1 ended with exit code $code, expected $2" >&2; exit 1; }
}

# check WANT ARGS...: runs clearcheck and stops if it answers otherwise.
check() {
	want=$1
	shift
	code=0
	"$bin/clearcheck" "$@" || code=$?
	[ "$code" = "$want" ] || { echo "demo: error: clearcheck ended with exit code $code, expected $want" >&2; exit 1; }
	echo "(exit code $code)"
}

say "Making five sample sticks (disk images; EICAR and harmless samples only)"
"$bin/mksticks" -out "$work/sticks"

say "Screening them"
screen clean 0
screen infected 3
screen hidden 3
screen locked 4
screen damaged 4

say "The clearance of the clean stick"
ls -l "$work/out/clean"

say "A device checks the stick before it reads it"
check 0 --demo --trust "$work/state/demo.trust" --for general --token "$work/out/clean/token.cose" --manifest "$work/out/clean/manifest" "$work/sticks/clean.img"

say "Without --demo a device refuses the demonstration key"
check 8 --trust "$work/state/demo.trust" --for general --token "$work/out/clean/token.cose" "$work/sticks/clean.img"

say "Somebody alters one file on the stick"
cp --sparse=always "$work/sticks/clean.img" "$work/device/altered.img"
at=$(LC_ALL=C grep -obUa 'Synthetic report: no finding' "$work/device/altered.img" | head -n 1 | cut -d: -f1)
printf 'Synthetic report: 1 finding ' | dd of="$work/device/altered.img" bs=1 seek="$at" conv=notrunc status=none
check 3 --demo --trust "$work/state/demo.trust" --for general --token "$work/out/clean/token.cose" --manifest "$work/out/clean/manifest" "$work/device/altered.img"

say "The station's log, and the proof that nobody changed it"
"$bin/pratique" audit list --state "$work/state"
"$bin/pratique" audit verify --state "$work/state"

say "Done"
echo "Five sticks were screened: one was cleared and got a signed clearance, two were refused for what is on them, two"
echo "because they could not be read in full. The clearance held for the stick as it was, and failed when one file was"
echo "altered. Everything is in $work/: sticks, clearance, state and log."
