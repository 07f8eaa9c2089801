package slot

// Exit codes of yaraworker, beside 0 for the end of the requests, 2 for a wrong command line, and sandbox.ExitSandbox.
const (
	// ExitDonation says that a descriptor is not what it must be: rules that are not sealed or cannot be loaded, a buffer
	// that could be mapped for writing. Starting another yaraworker on them would not help.
	ExitDonation = 3
	// ExitProtocol says that a request broke its rules, or a pipe.
	ExitProtocol = 4
)
