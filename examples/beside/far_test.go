package beside

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// far is a connection over a long distance: each piece that is read or written arrives after a delay. Each piece has
// its own time to arrive, so pieces that are written together arrive together, and no writer waits.
type far struct {
	net.Conn
	delay time.Duration
	in    chan parcel
	out   chan parcel
	free  chan []byte // buffers for the next use
	rest  parcel      // the unread part of the last parcel
	wg    sync.WaitGroup
}

// parcel is octets on their way.
type parcel struct {
	due    time.Time
	octets []byte
	buf    []byte // has the octets
	err    error  // of the connection, after the octets
}

// newFar returns c with a delay each way: half of a round trip.
func newFar(c net.Conn, delay time.Duration) *far {
	const underway = 256 // parcels each way
	f := &far{
		Conn: c, delay: delay,
		in: make(chan parcel, underway), out: make(chan parcel, underway), free: make(chan []byte, underway),
	}
	f.wg.Go(f.receive)
	f.wg.Go(f.deliver)
	return f
}

// receive reads the connection, and gives each piece its time to arrive.
func (f *far) receive() {
	for {
		buf := f.buffer()
		n, err := f.Conn.Read(buf)
		f.in <- parcel{time.Now().Add(f.delay), buf[:n], buf, err}
		if err != nil {
			close(f.in)
			return
		}
	}
}

// deliver writes each piece when its time has come.
func (f *far) deliver() {
	for p := range f.out {
		time.Sleep(time.Until(p.due))
		f.Conn.Write(p.octets) // receive returns the error
		f.release(p.buf)
	}
}

func (f *far) Read(b []byte) (int, error) {
	for len(f.rest.octets) == 0 {
		if f.rest.err != nil {
			return 0, f.rest.err
		}
		f.release(f.rest.buf)
		f.rest = <-f.in
		time.Sleep(time.Until(f.rest.due))
	}
	n := copy(b, f.rest.octets)
	f.rest.octets = f.rest.octets[n:]
	return n, nil
}

func (f *far) Write(b []byte) (int, error) {
	for left := b; len(left) > 0; {
		buf := f.buffer()
		n := copy(buf, left)
		f.out <- parcel{due: time.Now().Add(f.delay), octets: buf[:n], buf: buf}
		left = left[n:]
	}
	return len(b), nil
}

// Close waits until everything written has arrived. It must not be called during a Read or a Write.
func (f *far) Close() error {
	close(f.out)
	err := f.Conn.SetReadDeadline(time.Unix(1, 0))
	for range f.in { // nothing reads it any more
	}
	f.wg.Wait()
	f.Conn.Close()
	return err
}

func (f *far) buffer() []byte {
	select {
	case buf := <-f.free:
		return buf
	default:
		return make([]byte, 16<<10)
	}
}

func (f *far) release(buf []byte) {
	if buf == nil {
		return
	}
	select {
	case f.free <- buf:
	default:
	}
}

// TestFar checks that each of many pieces is answered after twice the delay, and in order.
func TestFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay, pieces = 10 * time.Millisecond, 20
		near, end := net.Pipe()
		defer near.Close()
		f := newFar(end, delay)
		begin := time.Now()
		go func() {
			for i := range pieces {
				near.Write([]byte{byte(i)})
			}
		}()
		go func() {
			defer f.Close()
			piece := make([]byte, 1)
			for range pieces {
				if _, err := f.Read(piece); err != nil {
					t.Error(err)
				}
				f.Write(piece)
			}
		}()
		got, err := io.ReadAll(near)
		if err != nil {
			t.Error(err)
		}
		for i, octet := range got {
			if int(octet) != i {
				t.Errorf("got %d in place %d", octet, i)
			}
		}
		if took := time.Since(begin); len(got) != pieces || took != 2*delay {
			t.Errorf("got %d pieces after %v, want %d after %v", len(got), took, pieces, 2*delay)
		}
	})
}
