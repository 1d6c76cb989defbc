package smtptest

// Hints returns the hints that a failing test prints.
func (n *Network) Hints() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hints()
}
