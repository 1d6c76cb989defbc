package replies

// Provider returns the company that runs a host, by the host's name: what [Meaning].Provider has. If it isn't known,
// Provider returns "".
func Provider(host string) string { return defaults().provider(host) }
