package client

import (
	"strings"
	"time"
)

// Sessions in which the four chunks of a message go out, one ahead of the replies or each in its turn.
const (
	toChunks = greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 CHUNKING\nC: MAIL\nC: RCPT\nS: 250 ok\nS: 250 ok\n"
	inTurns  = greeted + "S: 250-host\nS: 250 CHUNKING\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\n"
	lmtpTurn = "S: 220 hi\nC: LHLO\nS: 250-host\nS: 250 CHUNKING\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: RCPT\nS: 250 ok\n"
	three    = "chunk\nchunk\nS: 250 ok\nchunk\nS: 250 ok\nS: 250 ok\n" // chunks
	byDATA   = "C: RSET\nC: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nmessage\nS: 250 taken\n"
)

func chunked(c *Conn)     { c.ChunkSize = 20000 }
func lmtpChunked(c *Conn) { c.ChunkSize, c.LMTP = 20000, true }

var hostileChunks = []hostileCase{
	{name: "all well", host: toChunks + three + "last\n" + taken, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "each in its turn", host: inTurns + strings.Repeat("chunk\nS: 250 ok\n", 3) + "last\n" + taken, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "CHUNKING in homoglyphs", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 CHUN\u212aING\n" + atOnce, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "552 to the third", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 250 ok\nS: 552 too big", with: chunked, size: 70000, want: "rejected body 552", ready: true},
	{name: "552 to the second, silence for the third", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 552 too big", with: chunked, size: 70000, want: "rejected body 552", takes: 10 * time.Minute},
	{name: "552 to the second, 250 to the third", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 552 too big\nS: 250 ok", with: chunked, size: 70000, want: "rejected body 552", ready: true},
	{name: "552 to the second, garbage for the third", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 552 too big\nS: ok", with: chunked, size: 70000, want: "rejected body 552", takes: 10 * time.Minute},
	{name: "550 too many before 250 to the first", host: inTurns + "chunk\nS: 550 who?\nS: 250 ok", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "552 to the last", host: toChunks + three + "last\nS: 552 too big", with: chunked, size: 70000, want: "rejected final 552", ready: true, whole: 1},
	{name: "451 to the second", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 451 disk\nS: 503 no", with: chunked, size: 70000, want: "deferred body 451", ready: true},
	{name: "451 to the last", host: toChunks + three + "last\nS: 451 disk", with: chunked, size: 70000, want: "deferred final 451", ready: true, whole: 1},
	{name: "500 to the first", host: toChunks + "chunk\nchunk\nS: 500 what?\nS: 500 what?\n" + byDATA, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "503 to the first, 250 to the second", host: toChunks + "chunk\nchunk\nS: 503 what?\nS: 250 ok\n" + byDATA, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "502, and DATA refused", host: toChunks + "chunk\nchunk\nS: 502 what?\nS: 502 what?\nC: RSET\nC: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 502 what?", with: chunked, size: 70000, want: "rejected data 502", ready: true},
	{name: "502, and RSET refused", host: toChunks + "chunk\nchunk\nS: 502 what?\nS: 502 what?\nC: RSET\nC: MAIL\nC: RCPT\nC: DATA\nS: 502 what?\nS: 250 ok\nS: 250 ok\nS: 354 go", with: chunked, size: 70000, want: "deferred mail 502"},
	{name: "502, and the chunk read as commands", host: toChunks + "C: BDAT\nS: 502 what?\nC: From:\nS: 500 what?\nC: Subject:\nS: 500 what?\n", with: chunked, size: 70000, want: "deferred mail 451 local", left: "*"},
	{name: "503 to the second", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 503 what?\nS: 503 what?\n" + byDATA, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "354 to the second", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 354 go", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "354 to the last", host: toChunks + three + "last\nS: 354 go", with: chunked, size: 70000, want: "unknown final 451 local", whole: 1},
	{name: "421 to the second", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 421 bye", with: chunked, size: 70000, want: "deferred body 421"},
	{name: "garbage for the first", host: toChunks + "chunk\nchunk\nS: ok", with: chunked, size: 70000, want: "deferred body 451 local", takes: 10 * time.Minute},
	{name: "an empty line before each reply", host: toChunks + "chunk\nchunk\nS: \nS: 250 ok\nchunk\nS: \nS: 255 ok\nS: \nS: 250 ok\nlast\nS: \n" + taken, with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "354 to the second, and one refused", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 CHUNKING\nC: MAIL\nC: RCPT\nC: RCPT\nS: 250 ok\nS: 550 who?\nS: 250 ok\nchunk\nchunk\nS: 250 ok\nchunk\nS: 354 go", with: chunked, to: 2, size: 70000, want: "rejected rcpt 550; deferred body 451 local"},
	{name: "lines without end for the first", host: toChunks + "chunk\nchunk\n" + `flood "250-ok\r\n"`, with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "silence for the first", host: toChunks + "chunk\nchunk", with: chunked, size: 70000, want: "deferred body 451 local", takes: 10 * time.Minute},
	{name: "silence for the last", host: toChunks + three + "last", with: chunked, size: 70000, want: "unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "closed before the first", host: toChunks + "close", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "closed in a chunk", host: toChunks + "chunk\npart 1000\nclose", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "closed between chunks", host: toChunks + "chunk\nchunk\nS: 250 ok\nclose", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "closed before the last", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk\nS: 250 ok\nclose", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "closed after the last", host: toChunks + three + "last\nclose", with: chunked, size: 70000, want: "unknown final 451 local", whole: 1},
	{name: "552 and closed in a chunk", host: toChunks + "part 1000\nS: 552 too big\nclose", with: chunked, size: 70000, want: "deferred body 552"},
	{name: "reads no more", host: toChunks + "part 1000\nsleep 1h", with: chunked, size: 70000, want: "deferred body 451 local", takes: 3 * time.Minute, left: "*"},
	{name: "a chunk answered before it was heard", host: toChunks + "C: BDAT 20000\npart 1000\nS: 250 ok\nflush\npart 19000\nchunk\nS: 250 ok\nchunk\nS: 250 ok\nlast\nS: 250 ok", with: chunked, size: 70000, want: "delivered final 250", ready: true, whole: 1},
	{name: "the first answered with RCPT", host: toChunks + "S: 250 ok", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "421 with RCPT", host: toChunks + "S: 421 bye", with: chunked, size: 70000, want: "deferred body 421"},
	{name: "two replies a chunk", host: inTurns + "chunk\nS: 250 ok\nS: 250 ok", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "replies for all with the first", host: toChunks + "chunk\nchunk\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nflush\nchunk", with: chunked, size: 70000, want: "deferred body 451 local"},
	{name: "LMTP: a reply too few, then silence", host: lmtpTurn + strings.Repeat("chunk\nS: 250 ok\n", 3) + "last\nS: 250 ok", with: lmtpChunked, to: 2, size: 70000, want: "delivered final 250; unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "LMTP: mixed", host: lmtpTurn + strings.Repeat("chunk\nS: 250 ok\n", 3) + "last\nS: 452 full\nS: 550 no", with: lmtpChunked, to: 2, size: 70000, want: "deferred final 452; rejected final 550", ready: true, whole: 1},
	{name: "LMTP: closed between the replies", host: lmtpTurn + strings.Repeat("chunk\nS: 250 ok\n", 3) + "last\nS: 550 no\nclose", with: lmtpChunked, to: 2, size: 70000, want: "rejected final 550; unknown final 451 local", whole: 1},
	{name: "LMTP: 552 to the second", host: lmtpTurn + "chunk\nS: 250 ok\nchunk\nS: 552 too big", with: lmtpChunked, to: 2, size: 70000, want: "rejected body 552; rejected body 552", ready: true},
	{name: "LMTP: each chunk answered for each recipient", host: lmtpTurn + "chunk\nS: 250 ok\nS: 250 ok", with: lmtpChunked, to: 2, size: 70000, want: "deferred body 451 local; deferred body 451 local"},
}

// limited is a host that sets LIMITS, which are as odd as may be.
func limited(limits string) string {
	return greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 LIMITS " + limits + "\n"
}

var hostileLimits = []hostileCase{
	{name: "RCPTMAX 0", host: limited("RCPTMAX=0") + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "RCPTMAX negative", host: limited("RCPTMAX=-1") + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "RCPTMAX over 64 bits", host: limited("RCPTMAX=99999999999999999999") + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "garbage", host: limited("RCPTMAX RCPTMAX= =1 MAILMAX=x ====") + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "all of them 1", host: limited("RCPTMAX=1 MAILMAX=1 RCPTDOMAINMAX=1") + atOnce, to: 2, want: "delivered final 250; deferred mail 452 local", whole: 1, left: "QUIT"},
	{name: "RCPTMAX 1, and silence for the second", host: limited("RCPTMAX=1") + atOnce + "C: MAIL\nC: RCPT\nC: DATA", to: 2, want: "delivered final 250; deferred mail 451 local", whole: 1, takes: 5 * time.Minute},
	{name: "RCPTMAX 1, and closed at the second", host: limited("RCPTMAX=1") + atOnce + "C: MAIL\nC: RCPT\nC: DATA\nclose", to: 2, want: "delivered final 250; deferred mail 451 local", whole: 1},
	{name: "RCPTMAX 1, and a reply too many", host: limited("RCPTMAX=1") + atOnce + "S: 250 ok", to: 2, want: "delivered final 250; deferred mail 451 local", whole: 1},
	{name: "RCPTMAX 1, and 421 to the second", host: limited("RCPTMAX=1") + atOnce + "C: MAIL\nC: RCPT\nC: DATA\nS: 421 bye", to: 2, want: "delivered final 250; deferred mail 421", whole: 1},
	{name: "RCPTMAX 1, and lost after the first dot", host: limited("RCPTMAX=1") + toOne + "message\nclose", to: 2, want: "unknown final 451 local; deferred mail 452 local", whole: 1},
}
