package bounce

// decide chooses the kind of the mail, and reads it by the format of that kind.
func (d *document) decide() *Notification {
	if len(d.status) > 0 {
		if n := d.readStatus(); len(n.Recipients) > 0 {
			return n
		}
	}
	return &Notification{}
}
