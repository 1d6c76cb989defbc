package client

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Block is a time in which a source address isn't used for a site.
type Block struct {
	// Site is the name of the site: see mx.Route.Site.
	Site string

	// SourceAddr is the local address that isn't used.
	SourceAddr netip.Addr

	// Until is the end of the block.
	Until time.Time

	// Reply is the host's refusal that caused the block. If nil, the program set the block.
	Reply *smtp.Reply
}

// sources is the memory of a Transport about its Sources.
type sources struct {
	mu     sync.Mutex
	blocks map[blockKey]Block
	last   map[pair]netip.Addr // the source addresses that greylisting hosts have seen
}

type blockKey struct {
	site   string
	source netip.Addr
}

// pair is what a greylisting host remembers of a message, beside the source address.
type pair struct{ from, to string }

// Block sets a block. It replaces the one with the same site and address; an Until in the past ends that one. Transport
// itself sets blocks of BlockTime when a host refuses a source address because of a blocklist. MaxRemembered bounds the
// number of blocks.
func (t *Transport) Block(b Block) {
	s := &t.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.blocks) >= t.maxRemembered() {
		maps.DeleteFunc(s.blocks, isOver)
	}
	// A forgotten block costs one more refusal.
	put(&s.blocks, t.maxRemembered(), blockKey{b.Site, b.SourceAddr.Unmap()}, b)
}

func isOver(_ blockKey, b Block) bool { return !time.Now().Before(b.Until) }

// put sets m[k]. If m had more than most entries then, the other ones are dropped.
func put[K comparable, V any](m *map[K]V, most int, k K, v V) {
	if _, known := (*m)[k]; *m == nil || !known && len(*m) >= most {
		*m = make(map[K]V)
	}
	(*m)[k] = v
}

// Blocks returns the blocks that haven't ended, ordered by site and source address.
func (t *Transport) Blocks() []Block {
	s := &t.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.blocks, isOver)
	return slices.SortedFunc(maps.Values(s.blocks), func(a, b Block) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), a.SourceAddr.Compare(b.SourceAddr))
	})
}

func (s *sources) blocked(site string, source netip.Addr) (b Block, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok = s.blocks[blockKey{site, source}]
	return b, ok && time.Now().Before(b.Until)
}

// seen remembers the source address from which a greylisting host has seen a message, among most entries.
func (s *sources) seen(p pair, source netip.Addr, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(&s.last, most, p, source) // a forgotten one costs a greylisting delay
}

func (s *sources) lastSeen(p pair) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[p]
}
