package milter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// Commands to the filter.
const (
	cmdNegotiate = 'O'
	cmdMacros    = 'D'
	cmdConnect   = 'C'
	cmdHelo      = 'H'
	cmdMail      = 'M'
	cmdRcpt      = 'R'
	cmdData      = 'T'
	cmdHeader    = 'L'
	cmdEndHeader = 'N'
	cmdBody      = 'B'
	cmdEnd       = 'E'
	cmdAbort     = 'A'
	cmdQuit      = 'Q'
)

// Answers of the filter.
const (
	ansAccept   = 'a'
	ansContinue = 'c'
	ansDiscard  = 'd'
	ansReject   = 'r'
	ansTempFail = 't'
	ansReply    = 'y'
	ansProgress = 'p'
	ansSkip     = 's'
	ansConnFail = 'f'
	ansShutdown = '4'
)

// Changes of the filter, at the end of a message.
const (
	chgAddHeader    = 'h'
	chgInsertHeader = 'i'
	chgChangeHeader = 'm'
	chgAddRcpt      = '+'
	chgAddRcptPar   = '2'
	chgDeleteRcpt   = '-'
	chgFrom         = 'e'
	chgBody         = 'b'
	chgQuarantine   = 'q'
)

// Bits of the protocol field: what the filter doesn't want to hear of, and what it doesn't answer.
const (
	noConnect = 1 << iota
	noHelo
	noMail
	noRcpt
	noBody
	noHeaders
	noEndHeader
	silentHeader
	noUnknown
	noData
	canSkip
	rejectedRcpt
	silentConnect
	silentHelo
	silentMail
	silentRcpt
	silentData
	silentUnknown
	silentEndHeader
	silentBody
	leadingSpace

	offeredProtocol = leadingSpace<<1 - 1 - rejectedRcpt
	offeredActions  = 0xff // all but a list of macros
	offeredVersion  = 6
)

const (
	maxPacket = 256 << 10 // octets of a packet from the filter that is no new body
	maxChunk  = 65535     // octets of a chunk of the body
)

// wire is a connection to a filter. Packets that are put wait in out until flush, which answer calls.
type wire struct {
	nc      net.Conn
	in      *bufio.Reader
	out     []byte
	timeout time.Duration // for an answer
	until   time.Time     // the end of this moment
	left    int64         // octets that the filter may send in this moment
	stop    func() bool   // of the func that closes nc when the context ends
}

func newWire(nc net.Conn) *wire { return &wire{nc: nc, in: bufio.NewReaderSize(nc, 512)} }

// begin starts a moment: until end, the connection is closed when ctx ends.
func (w *wire) begin(ctx context.Context, f *Filter) {
	w.timeout, w.until, w.left = f.timeout(), time.Now().Add(f.total()), f.maxOctets()
	w.stop = context.AfterFunc(ctx, func() { w.nc.Close() })
}

// end ends a moment.
func (w *wire) end() error {
	err := w.flush()
	w.stop()
	w.out = nil // an idle session needs no memory
	return err
}

// put adds a packet of strings that each end in a NUL.
func (w *wire) put(cmd byte, fields ...string) {
	b := w.start(cmd)
	for _, f := range fields {
		b = append(append(b, noNUL(f)...), 0)
	}
	w.finish(b)
}

// start begins a packet. finish takes it, with its data.
func (w *wire) start(cmd byte) []byte { return append(w.out, 0, 0, 0, 0, cmd) }

func (w *wire) finish(b []byte) {
	binary.BigEndian.PutUint32(b[len(w.out):], uint32(len(b)-len(w.out)-4))
	w.out = b
}

// putChunk adds a packet with n octets of r, at most maxChunk.
func (w *wire) putChunk(cmd byte, r io.Reader, n int) error {
	b := w.start(cmd)
	head := len(b)
	b = slices.Grow(b, n)[:head+n]
	if _, err := io.ReadFull(r, b[head:]); err != nil {
		return err
	}
	w.finish(b)
	return nil
}

// flush sends what was put.
func (w *wire) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	if err := w.unasked(); err != nil {
		return err
	}
	w.limit()
	_, err := w.nc.Write(w.out)
	w.out = w.out[:0]
	return err
}

// unasked returns an error if the filter has sent more answers than it was asked for. The next one would be taken for
// that to the next command: mail that the filter refuses a moment later would be accepted.
func (w *wire) unasked() error {
	if w.in.Buffered() > 0 {
		return errUnasked
	}
	return nil
}

// limit sets the deadline for one answer, or for one write.
func (w *wire) limit() {
	end := time.Now().Add(w.timeout)
	if end.After(w.until) {
		end = w.until
	}
	w.nc.SetDeadline(end)
}

var (
	errEmpty = errors.New("a packet without a command")
	errFlood = errors.New("more octets than MaxOctets allows")

	errUnasked = errors.New("more answers than commands")
)

// next reads the head of the next packet that isn't progress: its command and the length of its data.
func (w *wire) next() (cmd byte, n int64, err error) {
	if err := w.flush(); err != nil {
		return 0, 0, err
	}
	for {
		w.limit()
		var head [5]byte
		if _, err := io.ReadFull(w.in, head[:4]); err != nil {
			return 0, 0, err
		}
		length := int64(binary.BigEndian.Uint32(head[:4]))
		if length == 0 {
			return 0, 0, errEmpty
		}
		if w.left -= 4 + length; w.left < 0 {
			return 0, 0, errFlood
		}
		if _, err := io.ReadFull(w.in, head[4:]); err != nil {
			return 0, 0, unexpectedEnd(err)
		}
		cmd, n = head[4], length-1
		if cmd != chgBody && n > maxPacket {
			return 0, 0, fmt.Errorf("a packet %q of %d octets: at most %d are allowed", cmd, n, maxPacket)
		}
		if cmd != ansProgress {
			return cmd, n, nil
		}
		if _, err := w.data(n); err != nil {
			return 0, 0, err
		}
	}
}

// data reads the data of a packet.
func (w *wire) data(n int64) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(w.in, b)
	return b, unexpectedEnd(err)
}

// answer reads the next packet that isn't progress.
func (w *wire) answer() (cmd byte, data []byte, err error) {
	cmd, n, err := w.next()
	if err == nil && cmd == chgBody {
		return cmd, nil, errUnexpected(cmd)
	}
	if err == nil {
		data, err = w.data(n)
	}
	return cmd, data, err
}

func errUnexpected(cmd byte) error { return fmt.Errorf("an answer %q that has no meaning here", cmd) }

// unexpectedEnd returns err, but never io.EOF.
func unexpectedEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// negotiate agrees with the filter on a version and the bits of the protocol.
func (w *wire) negotiate() (version, protocol uint32, err error) {
	b := w.start(cmdNegotiate)
	for _, n := range []uint32{offeredVersion, offeredActions, offeredProtocol} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	w.finish(b)
	cmd, data, err := w.answer()
	if err != nil {
		return 0, 0, err
	}
	if cmd != cmdNegotiate || len(data) < 12 {
		return 0, 0, errUnexpected(cmd)
	}
	version, protocol = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[8:])
	actions := binary.BigEndian.Uint32(data[4:]) &^ offeredActions
	others := protocol &^ offeredProtocol
	switch {
	case version < 2 || version > offeredVersion:
		return 0, 0, fmt.Errorf("the filter speaks version %d, want 2 to %d", version, offeredVersion)
	case actions != 0:
		return 0, 0, fmt.Errorf("the filter needs the actions %#x, which aren't offered", actions)
	case others != 0:
		return 0, 0, fmt.Errorf("the filter needs the protocol bits %#x, which aren't offered", others)
	}
	return version, protocol, nil
}
