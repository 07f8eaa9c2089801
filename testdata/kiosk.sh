#!/bin/sh
# A station on a desk, with its screen in a window. A folder is the USB port: copying an image into it plugs a stick in, deleting it
# pulls it out. Everything is in desk/, and the clearances are those of a demonstration.
# Usage: testdata/kiosk.sh BIN [FLAGS OF KIOSKUI]
set -eu
bin=$1
shift
if [ -z "${DISPLAY:-}" ]; then
	echo "kiosk: error: there is no display to open a window on" >&2
	echo "kiosk: hint: in a virtual one: apt-get install xvfb imagemagick; xvfb-run -s '-screen 0 1280x800x24' make kiosk" >&2
	echo "kiosk: hint: and to see it, in another terminal: DISPLAY=:99 import -window root screen.png" >&2
	exit 1
fi
work=$PWD/desk
mkdir -p "$work/incoming" "$work/sticks" "$work/receipts"
[ -e "$work/sticks/clean.img" ] || "$bin/mksticks" -out "$work/sticks" >/dev/null
cat >"$work/station.toml" <<END
[station]
name = "Desk"
contact = "IT security, 4711"
[scan]
require_namespaces = false
[sources]
watch = "$work/incoming"
[staff]
roster = "$work/roster.toml"
END
cat >"$work/roster.toml" <<END
[[person]]
id = "p-1"
name = "me"
uid = $(id -u)
classes = ["general", "imaging", "laboratory", "infusion"]
END
chmod 600 "$work/station.toml" "$work/roster.toml"
"$bin/pratiqued" --config "$work/station.toml" --state "$work/state" 2>"$work/station.log" &
daemon=$!
trap 'kill $daemon 2>/dev/null || true; wait $daemon 2>/dev/null || true' EXIT INT TERM
cat <<END
The station runs. Its window opens; its journal is desk/station.log.
  plug a stick in   cp desk/sticks/clean.img desk/incoming/        (or infected.img, locked.img, damaged.img, hidden.img)
  pull it out       rm desk/incoming/clean.img
Close the window to end it.
END
"$bin/kioskui" --socket "$work/state/station.sock" --window 1280x800 --receipts "$work/receipts" "$@"
