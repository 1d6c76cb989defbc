package client

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// villain is a host that does what no host should. It goes through a script, one step a line, and then listens
// until the client closes:
//
//	S: line          says it; consecutive ones, with raw and repeat among them, go out in one write
//	raw "text"       says what a Go string holds, without a line end
//	repeat n "text"  says it n times
//	flush            ends such a write, and lets the client hear it
//	flood "text"     says it until the client hangs up
//	trickle d        from here on each octet that it says takes d; zero ends that
//	C: line          hears a line that begins so
//	message          hears a message to its final dot
//	part n           hears n octets
//	chunk            hears one of a message (BDAT), which isn't the last
//	last             hears the last one
//	tls [1.1]        takes the handshake, with TLS 1.1 only
//	cancel           waits until the client has heard everything, and calls cancel
//	sleep d          waits, and reads nothing
//	close            closes
type villain struct {
	cert   *tls.Config
	cancel func()

	whole  int      // messages that it heard to their final dot or last chunk
	left   []string // lines that it heard behind its script
	wrong  string   // why the script came to no end
	said   int      // octets of floods that the client took
	closed bool     // the client has hung up
	nc     *pipeConn
	conn   net.Conn // nc, or TLS over it
	in     *bufio.Reader
	out    strings.Builder
	pause  time.Duration // of trickle
}

// floodMost is where a flood ends that the client takes for ever.
const floodMost = 16 << 20

func (v *villain) serve(nc *pipeConn, script string) {
	defer nc.Close()
	v.nc, v.conn = nc, trickled{nc, v}
	v.in = bufio.NewReader(v.conn)
	for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		step, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := v.step(step, arg); err != nil {
			v.wrong = fmt.Sprintf("%s: %v", line, err)
			return
		}
		if v.closed {
			return
		}
	}
	v.flush()
	for !v.closed {
		line, err := v.in.ReadString('\n')
		if line != "" {
			v.left = append(v.left, strings.TrimSuffix(line, "\r\n"))
		}
		v.closed = err != nil
	}
}

func (v *villain) step(step, arg string) error {
	switch step {
	case "":
		return nil
	case "S:":
		v.out.WriteString(arg + "\r\n")
		return nil
	case "raw":
		v.out.WriteString(text(arg))
		return nil
	case "repeat":
		n, s, _ := strings.Cut(arg, " ")
		v.out.WriteString(strings.Repeat(text(s), number(n)))
		return nil
	}
	v.flush()
	if v.closed {
		return nil
	}
	switch step {
	case "flush":
		synctest.Wait()
	case "flood":
		for s := text(arg); v.said < floodMost && !v.closed; {
			n, err := io.WriteString(v.conn, s)
			v.said += n
			v.closed = err != nil
		}
	case "trickle":
		v.pause = duration(arg)
	case "C:":
		line, err := v.in.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, arg) {
			err = fmt.Errorf("got %q", line)
		}
		return err
	case "message":
		for {
			line, err := v.in.ReadString('\n')
			if err != nil {
				return err
			}
			if line == ".\r\n" {
				v.whole++
				return nil
			}
		}
	case "part":
		_, err := io.CopyN(io.Discard, v.in, int64(number(arg)))
		return err
	case "chunk", "last":
		line, err := v.in.ReadString('\n')
		size, isLast := strings.CutSuffix(strings.TrimPrefix(strings.TrimSuffix(line, "\r\n"), "BDAT "), " LAST")
		if err != nil || !strings.HasPrefix(line, "BDAT ") || isLast != (step == "last") {
			return fmt.Errorf("got %q, %v", line, err)
		}
		if _, err := io.CopyN(io.Discard, v.in, int64(number(size))); err != nil {
			return err
		}
		if isLast {
			v.whole++
		}
	case "tls":
		cfg := v.cert.Clone()
		if arg != "" {
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
		}
		tc := tls.Server(v.conn, cfg)
		if tc.Handshake() != nil {
			v.closed = true // it is for the row to say whether the client was right
			return nil
		}
		v.conn = tc
		v.in.Reset(tc)
	case "cancel":
		synctest.Wait()
		v.cancel()
	case "sleep":
		time.Sleep(duration(arg))
	case "close":
		v.closed = true
	default:
		panic("step " + step)
	}
	return nil
}

func (v *villain) flush() {
	if v.out.Len() > 0 {
		_, err := io.WriteString(v.conn, v.out.String())
		v.closed = err != nil
	}
	v.out.Reset()
}

// trickled writes as its villain has it.
type trickled struct {
	*pipeConn
	v *villain
}

func (c trickled) Write(b []byte) (int, error) {
	if c.v.pause == 0 {
		return c.pipeConn.Write(b)
	}
	for i := range b {
		time.Sleep(c.v.pause)
		if _, err := c.pipeConn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// text, number and duration are the arguments of steps.
func text(arg string) string {
	s, err := strconv.Unquote(arg)
	if err != nil {
		panic(arg)
	}
	return s
}

func number(arg string) int {
	n, err := strconv.Atoi(arg)
	if err != nil {
		panic(err)
	}
	return n
}

func duration(arg string) time.Duration {
	d, err := time.ParseDuration(arg)
	if err != nil {
		panic(err)
	}
	return d
}

// check says what went otherwise than the rows of a table have it.
func (v *villain) check(t *testing.T, whole int, left string) {
	t.Helper()
	if v.wrong != "" {
		t.Errorf("the host's script ended at %s", v.wrong)
	}
	if v.whole != whole {
		t.Errorf("the host has %d whole messages, want %d", v.whole, whole)
	}
	if got := strings.Join(v.left, "|"); left != "*" && got != left {
		t.Errorf("behind its script the host heard %q, want %q", clip(got), left)
	}
	for _, line := range v.left {
		if left == "*" && (line == "." || line == "QUIT" || line == "RSET") {
			t.Errorf("behind its script the host heard %q", line)
		}
	}
	if most := 64<<10 + pipeBuffer + 2*4096; v.said > most {
		t.Errorf("the client took %d octets of a flood, want %d at most", v.said, most)
	}
}
