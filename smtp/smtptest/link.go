package smtptest

import (
	"time"
)

// segment is the most that arrives at once over a link with a bandwidth, in octets: what TCP puts into a packet of
// Ethernet.
const segment = 1460

// Link makes the way to the host slow, for connections made from now on: what is sent arrives latency later, in each
// direction, a dial takes a round trip of it, and no more than bandwidth octets a second pass in a direction. Zero is no
// latency, and no bound. It is the way that is slow and not the host, so that Heal doesn't end it; Link(0, 0)
// does.
func (h *Host) Link(latency time.Duration, bandwidth int64) {
	h.net.t.Helper()
	if latency < 0 || bandwidth < 0 {
		h.net.t.Fatalf("smtptest: %s can't have a link of %v and %d octets a second", h.name, latency, bandwidth)
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.link = link{latency, bandwidth}
}

// link is how slow a way is. Zero is not at all.
type link struct {
	latency   time.Duration
	bandwidth int64 // octets a second
}

// way is what a link has made of one direction: when what was written arrives.
type way struct {
	link
	free    time.Time // when the last octet written has left
	flights []flight  // in the order that they were written
}

// flight is some octets that arrive together.
type flight struct {
	octets int
	at     time.Time
}

// send has n more octets leave.
func (w *way) send(n int) {
	if w.link == (link{}) {
		return
	}
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	most := n
	if w.bandwidth > 0 {
		most = segment
	}
	for n > 0 {
		k := min(n, most)
		if w.bandwidth > 0 {
			w.free = w.free.Add(time.Duration(int64(k) * int64(time.Second) / w.bandwidth))
		}
		w.flights = append(w.flights, flight{k, w.free.Add(w.latency)})
		n -= k
	}
}

// arrived says how many of the octets on the way are there, of which there are n, and when the next are; zero if that
// isn't known.
func (w *way) arrived(n int) (there int, next time.Time) {
	if w.link == (link{}) {
		return n, time.Time{}
	}
	now := time.Now()
	for _, f := range w.flights {
		if f.at.After(now) {
			return there, f.at
		}
		there += f.octets
	}
	return there, time.Time{}
}

// take takes n octets off that have arrived.
func (w *way) take(n int) {
	for len(w.flights) > 0 && n > 0 {
		f := &w.flights[0]
		k := min(n, f.octets)
		f.octets -= k
		n -= k
		if f.octets == 0 {
			w.flights = w.flights[1:]
		}
	}
}

// end gives the time at which the end of what was written arrives.
func (w *way) end() time.Time {
	if w.link == (link{}) {
		return time.Time{}
	}
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	return w.free.Add(w.latency)
}
