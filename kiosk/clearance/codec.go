package clearance

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// ErrMalformed marks bytes that are not exactly what this package writes. Callers treat it like a forgery.
var ErrMalformed = errors.New("malformed")

const (
	// MaxToken bounds a token in bytes. With the post-quantum signature a real one has about 3,700.
	MaxToken = 8 << 10
	// MaxTrust bounds a trust file in bytes: 1,000 stations with their post-quantum keys take 2.1 MB, 65,536 revoked
	// clearances 1.1 MB.
	MaxTrust = 4 << 20
	// maxElements bounds every array: the list of revoked clearances is the longest.
	maxElements = MaxRevoked
)

var (
	encoder = mustEncMode()
	decoder = mustDecMode()
)

func mustEncMode() cbor.EncMode {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty // so that null does not come out as null, which decodeStrict lives on
	mode, err := options.EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}

func mustDecMode() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   6,
		MaxArrayElements:  maxElements,
		MaxMapPairs:       64,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}

// decodeStrict decodes data into v, which must point to a zero value, and then encodes v again: only bytes that come out
// the same are accepted. That one comparison refuses every second spelling of the same value (RFC 8949 section 4.2):
// long integers, unsorted keys, a short byte string for a fixed array, null for nothing.
func decodeStrict(data []byte, v any) error {
	if err := decoder.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again, err := encoder.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("%w: not the deterministic encoding", ErrMalformed)
	}
	return nil
}
