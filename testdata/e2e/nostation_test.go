//go:build e2e && !station

package e2e

const withStation = false
