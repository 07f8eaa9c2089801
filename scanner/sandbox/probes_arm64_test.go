package sandbox

// archProbes are the calls that only this architecture still has: none.
var archProbes []probe
