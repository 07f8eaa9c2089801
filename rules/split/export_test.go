package split

// Fields are the names of a module's fields that count as undefined, and as zero, without a header.
type Fields struct{ Undefined, Zero string }

// Headers are the fields of each module.
func Headers() map[string]Fields {
	out := map[string]Fields{}
	for module, f := range headers {
		out[module] = Fields{f.undefined, f.zero}
	}
	return out
}
