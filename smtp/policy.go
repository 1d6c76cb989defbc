package smtp

// Greylisted reports whether the host seems to want the message again, from the same address, after some minutes.
func (r *Result) Greylisted() bool { return r.isGreylisted() }

// Blocklisted reports whether the host seems to refuse the address that the session came from, for a blocklist or
// its reputation.
func (r *Result) Blocklisted() bool { return r.isBlocklisted() && !r.isGreylisted() }
