#!/bin/sh
# Runs every fuzz target of the packages named, one after another, each for FUZZTIME (20s). Ends at the first finding, whose
# input the go command has then written below the package's testdata/fuzz.
set -eu
: "${FUZZTIME:=20s}" "${GO:=go}"
listed=$($GO test -list '^Fuzz' "$@") # by itself: a package that does not compile must not be one without targets
targets=$(echo "$listed" | awk '
	/^Fuzz/ { names[n++] = $1 }
	/^ok/ { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "fuzz: error: no targets in $*" >&2; exit 1; }
echo "$targets" | while read -r package name; do
	echo "$package $name"
	$GO test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x
done
echo "fuzz: $(echo "$targets" | wc -l) targets, nothing found"
