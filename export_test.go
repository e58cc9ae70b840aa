package portcullis

// What tests from outside see of the inside.
var (
	NewNonceWriter = newNonceWriter
	ParseBinary    = parseBinary
	TargetOf       = targetOf
)
