package spool

// usage is what lives in a segment.
type usage struct {
	messages int
	octets   int64 // of their entries
}

// joined says that a message is in the segment now. s.mu is held.
func (s *Spool) joined(p place) {
	u := s.perSeg[p.segment]
	s.perSeg[p.segment] = usage{u.messages + 1, u.octets + int64(p.length)}
}

// left says that a message isn't in the segment any more. s.mu is held.
func (s *Spool) left(p place) {
	s.wide.forget(p)
	s.fresh.forget(p)
	u := s.perSeg[p.segment]
	if u.messages == 1 {
		delete(s.perSeg, p.segment)
		return
	}
	s.perSeg[p.segment] = usage{u.messages - 1, u.octets - int64(p.length)}
}

// gone says that the message has no task left. s.mu is held.
func (s *Spool) gone(p place) {
	s.live -= int64(p.length)
	s.left(p)
}

// drop forgets a message, if it is there. s.mu is held.
func (s *Spool) drop(id uint64) {
	p := s.ix.Data(id)
	if p == nil {
		return
	}
	s.gone(*p)
	for _, t := range s.ix.Remove(id) {
		s.live -= int64(t.State.length)
		for _, part := range t.Parts {
			s.live -= int64(part.State.length)
		}
	}
}

// addFile says that the body of a message is in a file. s.mu is held.
func (s *Spool) addFile(id uint64, size int64) {
	if _, ok := s.files[id]; !ok {
		s.files[id] = size
		s.large += size
	}
}

// dropFile says that a message is gone, and reports whether its body is in a file. s.mu is held.
func (s *Spool) dropFile(id uint64) bool {
	size, ok := s.files[id]
	delete(s.files, id)
	s.large -= size
	return ok
}

// removeFile has the body file of a message that is gone removed, if it has one, when all that is in the log now is on
// the disk: the end of another of its tasks may have been written after the one that comes last here. s.mu is held.
func (s *Spool) removeFile(id uint64) {
	if !s.dropFile(id) {
		return
	}
	s.removed = append(s.removed, removal{s.log.newest(), bodyName(id)})
	s.waiting.Add(1)
}
