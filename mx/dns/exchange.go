package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxDatagrams bounds the datagrams that are read for one query. So many that aren't the answer are an attack.
const maxDatagrams = 100

// errByTCP means that the server has to be asked by TCP.
var errByTCP = errors.New("dns: to be asked by TCP")

// exchange sends a question to a server and returns its answer. The error is a *fault, an RCode, errLame, errMalformed
// or errByTCP.
func (r *Resolver) exchange(ctx context.Context, c *config, network, server string, q question) (answer, error) {
	query, err := newQuery(q)
	if err != nil {
		return answer{}, &fault{says: errMalformed, cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// RFC 5452 §9.2: a new socket has another port.
	conn, err := r.dial(ctx, network, server)
	if err != nil {
		return answer{}, broken(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, ok := conn.(net.PacketConn); ok {
		return query.byDatagrams(ctx, conn)
	}
	return query.byStream(ctx, conn)
}

// broken returns the fault of a server that can't be dialled, written to or read from.
func broken(ctx context.Context, err error) *fault {
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return &fault{says: errTimeout, cause: os.ErrDeadlineExceeded}
	}
	return &fault{says: errUnreachable, cause: err}
}

func (q *query) byDatagrams(ctx context.Context, conn net.Conn) (answer, error) {
	if _, err := conn.Write(q.msg[2:]); err != nil {
		return answer{}, broken(ctx, err)
	}
	buf := make([]byte, udpSize)
	for range maxDatagrams {
		n, err := conn.Read(buf)
		if err != nil {
			return answer{}, broken(ctx, err)
		}
		var p dnsmessage.Parser
		switch h, of := q.start(&p, buf[:n]); {
		case of == another:
		case of == ourCase || h.Truncated:
			// RFC 2181 §9: what a truncated answer has is not all.
			return answer{}, errByTCP
		default:
			a, err := q.read(&p, h)
			if err == errMalformed {
				err = errByTCP
			}
			return a, err
		}
	}
	return answer{}, errByTCP
}

func (q *query) byStream(ctx context.Context, conn net.Conn) (answer, error) {
	// RFC 7766 §8: the length and the message in one write.
	if _, err := conn.Write(q.msg); err != nil {
		return answer{}, broken(ctx, err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return answer{}, broken(ctx, err)
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return answer{}, broken(ctx, err)
	}
	var p dnsmessage.Parser
	h, of := q.start(&p, msg)
	if of == another || h.Truncated {
		return answer{}, errMalformed
	}
	return q.read(&p, h)
}
