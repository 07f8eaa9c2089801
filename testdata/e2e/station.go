package e2e

// Station is the daemon in the guest.
type Station struct{}
