package spool

// appending is a record on its way into the log.
type appending struct {
	record  []byte // with room for its header
	durable bool   // done is told when it is on the disk
	roll    bool   // it begins a segment
	done    chan error

	// These are set when done has been told nil. Then applied must be called.
	segment *segment
	off     int64
	seq     uint64
}

// place returns the place of an entry of the record.
func (a *appending) place(off, length int) place {
	return place{a.segment.number, uint32(a.off) + uint32(off), uint32(length)}
}

// wait waits until a record that was handed over is written, and returns the error of that.
func (a *appending) wait() error { return <-a.done }
