//go:build race

package sandbox

// The race detector brings C into the test binary.
import _ "pratique/scanner/sandbox/early"
