package client

import (
	"fmt"
	"strings"
	"time"
)

const (
	toTwoStart = hello + "C: MAIL\nC: RCPT\nC: RCPT\nC: DATA\n"
	toLMTP     = "S: 220 hi\nC: LHLO\n" + pipelined + "C: MAIL\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nmessage\n"
)

var hostileEnvelopes = []hostileCase{
	{name: "MAIL answered with EHLO", host: greeted + pipelined + "S: 250 ok", want: "deferred mail 451 local"},
	{name: "all answered with EHLO", host: greeted + pipelined + ready + taken, want: "deferred mail 451 local"},
	{name: "421 with EHLO", host: greeted + pipelined + "S: 421 bye", want: "deferred mail 421"},
	{name: "RCPT answered with MAIL", host: plainHello + "C: MAIL\nS: 250 ok\nS: 250 ok", want: "deferred rcpt 451 local"},
	{name: "DATA answered with RCPT", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nS: 354 go", want: "deferred data 451 local"},
	{name: "421 with MAIL", host: plainHello + "C: MAIL\nS: 250 ok\nS: 421 bye", want: "deferred rcpt 421"},
	{name: "the final reply with 354", host: hello + toOne + taken, want: "deferred data 451 local"},
	{name: "a rejection with 354", host: hello + toOne + "S: 554 no", want: "deferred data 451 local"},
	{name: "silence for MAIL", host: hello + "C: MAIL", want: "deferred mail 451 local", takes: 5 * time.Minute, left: "RCPT TO:<bob@example.net>|DATA"},
	{name: "MAIL an octet a minute", host: hello + "C: MAIL\nC: RCPT\nC: DATA\ntrickle 1m\nS: 250 ok", want: "deferred mail 451 local", takes: 5 * time.Minute},
	{name: "each reply late, but in time", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nsleep 299s\nS: 250 ok\nflush\nsleep 299s\nS: 250 ok\nflush\nsleep 119s\nS: 354 go\nmessage\nsleep 599s\n" + taken,
		want: "delivered final 250", ready: true, whole: 1, takes: 1316 * time.Second},
	{name: "a reply for two, then silence", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok", want: "deferred data 451 local", takes: 2 * time.Minute},
	{name: "a reply for one, then silence", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok", want: "deferred rcpt 451 local", takes: 5 * time.Minute},
	{name: "half a line, then silence", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + `raw "250 o"`, want: "deferred rcpt 451 local", takes: 5 * time.Minute},
	{name: "replies one at a time, commands at once", host: hello + "C: MAIL\nS: 250 ok\nflush\nC: RCPT\nS: 250 ok\nflush\nC: DATA\nS: 354 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "one reply for the group, then silence", host: toTwoStart + "S: 550 no", to: 2, want: "rejected mail 550; rejected mail 550", takes: 5 * time.Minute},
	{name: "MAIL refused, then closed", host: toTwoStart + "S: 550 no\nclose", to: 2, want: "rejected mail 550; rejected mail 550"},
	{name: "MAIL refused, then 421", host: toTwoStart + "S: 550 no\nS: 421 bye\nclose", to: 2, want: "rejected mail 550; rejected mail 550"},
	{name: "room for one, then closed", host: toTwoStart + "S: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 354 go\nmessage\nS: 250 ok\nclose", to: 2, want: "delivered final 250; deferred mail 451 local", whole: 1},
	{name: "room for one, then silence", host: toTwoStart + "S: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 354 go\nmessage\nS: 250 ok\nC: MAIL\nC: RCPT\nC: DATA", to: 2, want: "delivered final 250; deferred mail 451 local", whole: 1, takes: 5 * time.Minute},
	{name: "a reply too many before a rejection", host: toTwoStart + "S: 250 ok\nS: 250 ok\nS: 550 who?\nS: 250 ok\nS: 354 go", to: 2, want: "deferred data 451 local; deferred data 451 local"},
	{name: "a reply too many before 554 to DATA", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 554 no\nS: 354 go", want: "deferred data 451 local"},
	{name: "550 too many before 250 to MAIL", host: plainHello + "C: MAIL\nS: 550 5.1.1 who?\nS: 250 ok", want: "deferred mail 451 local"},
	{name: "550 too many before 250 to MAIL of a group", host: toTwoStart + "S: 550 5.1.1 who?\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go", to: 2, want: "deferred data 451 local; deferred data 451 local"},
	{name: "550 too many before 250 to RCPT", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 550 5.1.1 who?\nS: 250 ok", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
	{name: "a reply too many after a rejection", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 550 5.1.1 who?\nC: RCPT\nS: 250 ok\nS: 250 ok", to: 2, want: "deferred data 451 local; deferred data 451 local"},
	{name: "550 too many before 354", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 550 5.1.1 who?\nS: 354 go", want: "deferred data 451 local"},
	{name: "MAIL refused, then 421, in turns", host: plainHello + "C: MAIL\nS: 550 no\nS: 421 bye", want: "rejected mail 550"},
	{name: "a reply too many at the end", host: hello + toOne + "S: 250 ok", want: "deferred data 451 local"},
	{name: "354 one too early", host: toTwoStart + ready, to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
	{name: "MAIL 220", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 220 ok\nS: 250 ok\nS: 354 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "MAIL 300", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 300 ok", want: "deferred mail 451 local"},
	{name: "MAIL 503", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 503 AUTH first\nS: 503 no\nS: 503 no", want: "rejected mail 503", ready: true},
	{name: "RCPT 251", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 251 will forward\nS: 354 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "RCPT 252", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 252 can't tell\nS: 354 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "RCPT 334", host: toTwoStart + "S: 250 ok\nS: 250 ok\nS: 334 eA==\nS: 354 go", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
	{name: "RCPT 4xx beside 250", host: toTwoStart + "S: 250 ok\nS: 450 later\nS: 250 ok\nS: 354 go\nmessage\n" + taken, to: 2, want: "deferred rcpt 450; delivered final 250", ready: true, whole: 1},
	{name: "RCPT 452 and 552", host: toTwoStart + "S: 250 ok\nS: 452 4.5.3 too many\nS: 552 5.5.3 too many\nS: 503 no", to: 2, want: "deferred rcpt 452; deferred rcpt 552", ready: true},
	{name: "RCPT 503", host: toTwoStart + "S: 250 ok\nS: 503 MAIL first\nS: 250 ok\nS: 354 go\nmessage\n" + taken, to: 2, want: "rejected rcpt 503; delivered final 250", ready: true, whole: 1},
	{name: "RCPT with codes that change", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250-ok\nS: 550 no\nS: 503 no", want: "rejected rcpt 550", ready: true},
	{name: "RCPT with codes that change, and no reply to DATA", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250-ok\nS: 550 no", want: "deferred data 451 local", takes: 2 * time.Minute},
	{name: "RCPT with codes that change to good", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 550-no\nS: 250 ok", want: "deferred rcpt 451 local"},
	{name: "a line without a code instead of a reply to MAIL", host: toTwoStart + "S: ok\nS: 550 who?\nS: 250 ok\nS: 354 go", to: 2, want: "deferred data 451 local; deferred data 451 local", takes: 2 * time.Minute},
	{name: "a line without a code instead of a reply to RCPT", host: toTwoStart + "S: 250 ok\nS: ok\nS: 550 who?\nS: 354 go", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
	{name: "a line without a code instead of a reply to DATA", host: toTwoStart + "S: 250 ok\nS: 250 ok\nS: 550 who?\nS: ok", to: 2, want: "deferred data 451 local; rejected rcpt 550", takes: 2 * time.Minute},
	{name: "MAIL refused after a line without a code", host: toTwoStart + "S: oh\nS: 550 no\nS: 503 no\nS: 503 no\nS: 503 no", to: 2, want: "rejected mail 550; rejected mail 550", ready: true},
	{name: "RCPT with a class that isn't the code's", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 450 5.1.1 who?\nS: 503 no", want: "deferred rcpt 450", ready: true},
	{name: "RCPT 600", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 600 what?", want: "deferred rcpt 451 local"},
	{name: "RCPT 421 of three", host: hello + "C: MAIL\nC: RCPT\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 421 bye", to: 3, want: "deferred rcpt 421; deferred rcpt 421; deferred rcpt 421"},
	{name: "RCPT 550, then 421", host: hello + "C: MAIL\nC: RCPT\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 550 who?\nS: 421 bye", to: 3, want: "rejected rcpt 550; deferred rcpt 421; deferred rcpt 421"},
	{name: "RCPT of nearly 64 KiB", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + long550(15) + "S: 503 no", want: "rejected rcpt 550", ready: true},
	{name: "RCPT over 64 KiB", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + long550(18) + "S: 503 no", want: "deferred rcpt 451 local"},
	{name: "RCPT without end", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + `flood "550-no\r\n"`, want: "deferred rcpt 451 local"},
	{name: "RCPT NULs", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + `raw "550 \x00\x00\x1b[2J\r\n503 no\r\n"`, want: "rejected rcpt 550", ready: true},
	{name: "RCPT CR CR LF", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + `raw "550-no\r\r\n550 who?\r\r\n503 no\r\r\n"`, want: "rejected rcpt 550", ready: true},
	{name: "RCPT bare LF", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\n" + `raw "550 no\n503 no\r\n"`, want: "deferred rcpt 451 local"},
}

func long550(lines int) string {
	return strings.Repeat("S: 550-"+strings.Repeat("x", 4080)+"\n", lines-1) + "S: 550 no\n"
}

// closedEnvelopes: the host closes after each number of replies, and in the middle of each.
func closedEnvelopes() []hostileCase {
	replies := strings.SplitAfter(strings.TrimSuffix("S: 250 ok\n"+ready, "\n"), "\n")
	var cases []hostileCase
	for n, stage := range []string{"mail", "rcpt", "rcpt", "data"} {
		want := fmt.Sprintf("deferred %s 451 local; deferred %[1]s 451 local", stage)
		said := toTwoStart + strings.Join(replies[:n], "")
		cases = append(cases,
			hostileCase{name: fmt.Sprintf("closed after %d replies", n), host: said + "close", to: 2, want: want},
			hostileCase{name: fmt.Sprintf("closed in reply %d", n+1), host: said + `raw "25"` + "\nclose", to: 2, want: want},
			hostileCase{name: fmt.Sprintf("bare CR in reply %d", n+1), host: said + `raw "250 ok\r250 ok\r\n"`, to: 2, want: want})
	}
	return cases
}

var hostileData = []hostileCase{
	{name: "354 with nobody to send to, then silence", host: toTwoStart + "S: 250 ok\nS: 550 no\nS: 450 no\nS: 354 go\nC: .", to: 2, want: "rejected rcpt 550; deferred rcpt 450", takes: 10 * time.Minute},
	{name: "354 with nobody to send to, then 250", host: toTwoStart + "S: 250 ok\nS: 550 no\nS: 450 no\nS: 354 go\nC: .\nS: 250 taken", to: 2, want: "rejected rcpt 550; deferred rcpt 450", ready: true},
	{name: "354 with nobody to send to, then 421", host: toTwoStart + "S: 250 ok\nS: 550 no\nS: 450 no\nS: 354 go\nC: .\nS: 421 bye", to: 2, want: "rejected rcpt 550; deferred rcpt 450"},
	{name: "354 with nobody to send to, for LMTP", host: "S: 220 hi\nC: LHLO\n" + pipelined + "C: MAIL\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 550 no\nS: 450 no\nS: 354 go", with: lmtp, to: 2, want: "rejected rcpt 550; deferred rcpt 450"},
	{name: "250 for 354 with nobody to send to", host: toTwoStart + "S: 250 ok\nS: 550 no\nS: 450 no\nS: 250 ok", to: 2, want: "deferred data 451 local; deferred data 451 local"},
	{name: "250", host: toTwoStart + "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 taken", to: 2, want: "deferred data 451 local; deferred data 451 local"},
	{name: "300", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 300 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "355", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 355 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "350, and one refused", host: toTwoStart + "S: 250 ok\nS: 550 who?\nS: 250 ok\nS: 350 go\nmessage\n" + taken, to: 2, want: "rejected rcpt 550; delivered final 250", ready: true, whole: 1},
	{name: "250 in turn, and one refused", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 550 who?\nC: RCPT\nS: 250 ok\nC: DATA\nS: 250 go", to: 2, want: "rejected rcpt 550; deferred data 451 local"},
	{name: "450", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 450 later", want: "deferred data 450", ready: true},
	{name: "554 no valid recipients", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 554 no valid recipients", want: "rejected data 554", ready: true},
	{name: "421", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 421 bye", want: "deferred data 421"},
	{name: "lines without end", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\n" + `flood "354-go\r\n"`, want: "deferred data 451 local"},
	{name: "354 of lines", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354-go\nS: 354 go\nmessage\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "354 twice", host: hello + toOne + "S: 354 go", want: "deferred data 451 local"},
	{name: "an octet behind 354, then silence", host: hello + "C: MAIL\nC: RCPT\nC: DATA\n" + `raw "250 ok\r\n250 ok\r\n354 go\r\n4"`, want: "deferred data 451 local"},
	{name: "a line of two with the replies before, then silence", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354-go", want: "deferred data 451 local", takes: 2 * time.Minute},
	{name: "354 again behind the message", host: hello + toOne + "message\nS: 354 go", want: "unknown final 451 local", whole: 1},
	{name: "354 and 421", host: hello + toOne + "S: 421 bye", want: "deferred data 421"},
	{name: "554 before the message was heard", host: hello + toOne + "flush\nS: 554 no\nmessage", want: "rejected final 554", ready: true, whole: 1},
	{name: "554 and closed in the middle", host: hello + toOne + "part 20000\nS: 554 no\nclose", size: 1 << 20, want: "deferred body 554"},
	{name: "421 and closed in the middle", host: hello + toOne + "part 20000\nS: 421 bye\nclose", size: 1 << 20, want: "deferred body 421"},
	{name: "250 and closed in the middle", host: hello + toOne + "part 20000\nS: 250 taken\nclose", size: 1 << 20, want: "deferred body 451 local"},
	{name: "closed after 354", host: hello + toOne + "close", size: 1 << 20, want: "deferred body 451 local"},
	{name: "closed in the last block", host: hello + toOne + "part 1020000\nclose", size: 1 << 20, want: "deferred body 451 local"},
	{name: "reads nothing", host: hello + toOne + "sleep 1h", size: 1 << 20, want: "deferred body 451 local", takes: 3 * time.Minute, left: "*"},
	{name: "reads no more", host: hello + toOne + "part 100000\nsleep 1h", size: 1 << 20, want: "deferred body 451 local", takes: 3 * time.Minute, left: "*"},
	{name: "reads a kilobyte a minute", host: hello + toOne + strings.Repeat("part 1024\nsleep 1m\n", 9) + "sleep 1h", size: 1 << 20, want: "deferred body 451 local", takes: 3 * time.Minute, left: "*"},
	{name: "reads slowly, but in time", host: hello + toOne + strings.Repeat("sleep 170s\npart 32768\n", 4) + "message\n" + taken, size: 150 << 10, want: "delivered final 250", ready: true, whole: 1, takes: 680 * time.Second,
		with: func(c *Conn) { c.Timeouts.MinDataRate = 200 }},
}

var hostileFinals = []hostileCase{
	{name: "silence", host: hello + toOne + "message", want: "unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "half a line, then silence", host: hello + toOne + "message\n" + `raw "250 ok"`, want: "unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "half a line, then closed", host: hello + toOne + "message\n" + `raw "250 ok"` + "\nclose", want: "unknown final 451 local", whole: 1},
	{name: "a line of two, then silence", host: hello + toOne + "message\nS: 250-ok", want: "unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "an octet a minute", host: hello + toOne + "message\ntrickle 1m\nS: 250 ok\ntrickle 0s", want: "delivered final 250", ready: true, whole: 1, takes: 8 * time.Minute},
	{name: "250 and 421", host: hello + toOne + "message\nS: 250 taken\nS: 421 bye", want: "delivered final 250", whole: 1},
	{name: "250 twice", host: hello + toOne + "message\nS: 250 taken\nS: 250 taken", want: "delivered final 250", whole: 1},
	{name: "250 and 554", host: hello + toOne + "message\nS: 250 taken\nS: 554 spam", want: "delivered final 250", whole: 1},
	{name: "550 too many before 250", host: hello + toOne + "message\nS: 550 who?\nS: 250 taken", want: "unknown final 451 local", whole: 1},
	{name: "451 too many before 250", host: hello + toOne + "message\nS: 451 wait\nS: 250 taken", want: "unknown final 451 local", whole: 1},
	{name: "550 and 421", host: hello + toOne + "message\nS: 550 no\nS: 421 bye", want: "rejected final 550", whole: 1},
	{name: "550 twice", host: hello + toOne + "message\nS: 550 no\nS: 550 no", want: "rejected final 550", whole: 1},
	{name: "250 and closed", host: hello + toOne + "message\nS: 250 taken\nclose", want: "delivered final 250", ready: true, whole: 1},
	{name: "garbage", host: hello + toOne + "message\nS: ok", want: "unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "garbage, and 421 for an idle session", host: hello + toOne + "message\nS: hello\nflush\nsleep 5m\nS: 421 idle for too long", want: "unknown final 451 local", whole: 1, takes: 5 * time.Minute},
	{name: "250-, and 421", host: hello + toOne + "message\nS: 250-taken\nS: 421 bye", want: "unknown final 451 local", whole: 1},
	{name: "an empty line, and 451", host: hello + toOne + "message\nS: \nS: 451 no", want: "deferred final 451", ready: true, whole: 1},
	{name: "an empty line, and 250", host: hello + toOne + "message\nS: \n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "an empty line, and 550", host: hello + toOne + "message\nS: \nS: 550 no", want: "rejected final 550", ready: true, whole: 1},
	{name: "text, and 250", host: hello + toOne + "message\nS: Warning: disk nearly full\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "text inside the reply", host: hello + toOne + "message\nS: 250-taken\nS: 2 of 3\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "16 empty lines, and 250", host: hello + toOne + "message\n" + `repeat 16 "\r\n"` + "\n" + taken, want: "delivered final 250", ready: true, whole: 1},
	{name: "17 empty lines, and 250", host: hello + toOne + "message\n" + `repeat 17 "\r\n"` + "\n" + taken, want: "unknown final 451 local", whole: 1},
	{name: "empty lines without end", host: hello + toOne + "message\n" + `flood "\r\n"`, want: "unknown final 451 local", whole: 1},
	{name: "a NUL in a line without a code", host: hello + toOne + "message\n" + `raw "o\x00k\r\n"` + "\n" + taken, want: "unknown final 451 local", whole: 1},
	{name: "an empty line with a bare LF", host: hello + toOne + "message\n" + `raw "\n"` + "\n" + taken, want: "unknown final 451 local", whole: 1},
	{name: "a tab after the code", host: hello + toOne + "message\n" + `raw "250\ttaken\r\n"`, want: "delivered final 250", ready: true, whole: 1},
	{name: "an empty line behind each reply", host: "S: 220 hi\nS: \nC: EHLO\nS: 250-host\nS: \nS: 250 PIPELINING\nS: \nC: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: \nS: 250 ok\nS: \nS: 354 go\nS: \nmessage\nS: 250 taken\nS: ",
		want: "delivered final 250", ready: true, whole: 1},
	{name: "text behind each reply", host: "S: 220 hi\nS: there\nC: EHLO\nS: 250-host\nS: STARTTLS\nS: 250 PIPELINING\nS: more\nC: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: or\nS: 250 ok\nS: less\nS: 354 go\nS: on\nmessage\nS: 250 taken\nS: it",
		want: "delivered final 250", ready: true, whole: 1},
	{name: "bare LF", host: hello + toOne + "message\n" + `raw "250 ok\n"`, want: "unknown final 451 local", whole: 1},
	{name: "codes that change", host: hello + toOne + "message\nS: 250-ok\nS: 554 no", want: "rejected final 554", ready: true, whole: 1},
	{name: "codes that change to good", host: hello + toOne + "message\nS: 554-no\nS: 250 ok", want: "unknown final 451 local", whole: 1},
	{name: "lines without end", host: hello + toOne + "message\n" + `flood "250-ok\r\n"`, want: "unknown final 451 local", whole: 1},
	{name: "199", host: hello + toOne + "message\nS: 199 ok", want: "unknown final 451 local", whole: 1},
	{name: "334", host: hello + toOne + "message\nS: 334 ok", want: "unknown final 451 local", whole: 1},
	{name: "221", host: hello + toOne + "message\nS: 221 bye", want: "delivered final 221", ready: true, whole: 1},
	{name: "451", host: hello + toOne + "message\nS: 451 later", want: "deferred final 451", ready: true, whole: 1},
	{name: "552", host: hello + toOne + "message\nS: 552 too big", want: "rejected final 552", ready: true, whole: 1},
	{name: "a reply of nearly 64 KiB", host: hello + toOne + "message\n" + long550(15), want: "rejected final 550", ready: true, whole: 1},

	{name: "LMTP: a reply too few, then silence", host: toLMTP + "S: 250 ok", with: lmtp, to: 2, want: "delivered final 250; unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "LMTP: a reply too few, then closed", host: toLMTP + "S: 550 no\nclose", with: lmtp, to: 2, want: "rejected final 550; unknown final 451 local", whole: 1},
	{name: "LMTP: no reply", host: toLMTP, with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "LMTP: a reply too many", host: toLMTP + "S: 250 ok\nS: 250 ok\nS: 250 ok", with: lmtp, to: 2, want: "delivered final 250; delivered final 250", whole: 1},
	{name: "LMTP: a 250 too many before a rejection", host: toLMTP + "S: 250 ok\nS: 550 no\nS: 250 ok", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
	{name: "LMTP: a 250 too many, and the last one rejected", host: toLMTP + "S: 250 ok\nS: 250 ok\nS: 550 no", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
	{name: "LMTP: a 550 too many", host: toLMTP + "S: 550 no\nS: 250 ok\nS: 250 ok", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
	{name: "LMTP: a 550 too many for a rejection", host: toLMTP + "S: 550 no\nS: 550 no\nS: 550 no", with: lmtp, to: 2, want: "rejected final 550; rejected final 550", whole: 1},
	{name: "LMTP: a 451 too many for a rejection", host: toLMTP + "S: 550 no\nS: 550 no\nS: 451 no", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
	{name: "LMTP: half a reply too many", host: toLMTP + "S: 250 ok\nS: 550 no\nS: 250-ok", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
	{name: "LMTP: a reply too many, and 421", host: toLMTP + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 421 bye", with: lmtp, to: 2, want: "delivered final 250; delivered final 250", whole: 1},
	{name: "LMTP: 421 behind the replies", host: toLMTP + "S: 250 ok\nS: 550 no\nS: 421 bye", with: lmtp, to: 2, want: "delivered final 250; rejected final 550", whole: 1},
	{name: "LMTP: 500 behind the replies", host: toLMTP + "S: 250 ok\nS: 550 no\nS: 500 what?", with: lmtp, to: 2, want: "delivered final 250; rejected final 550", whole: 1},
	{name: "LMTP: mixed", host: toLMTP + "S: 452 full\nS: 550 no", with: lmtp, to: 2, want: "deferred final 452; rejected final 550", ready: true, whole: 1},
	{name: "LMTP: each late, but in time", host: toLMTP + "sleep 599s\nS: 250 ok\nflush\nsleep 599s\nS: 250 ok", with: lmtp, to: 2, want: "delivered final 250; delivered final 250", ready: true, whole: 1, takes: 1198 * time.Second},
	{name: "LMTP: the second begins with the first", host: toLMTP + "sleep 599s\nS: 250 ok\nS: 250-ok\nflush\nsleep 599s\nS: 250 ok", with: lmtp, to: 2, want: "delivered final 250; delivered final 250", ready: true, whole: 1, takes: 1198 * time.Second},
	{name: "LMTP: 354 for the first", host: toLMTP + "S: 354 go\nS: 250 ok\nS: 550 no", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
	{name: "LMTP: codes that change", host: toLMTP + "S: 250-ok\nS: 451 no\nS: 250 ok", with: lmtp, to: 2, want: "deferred final 451; delivered final 250", ready: true, whole: 1},
	{name: "LMTP: garbage for the second, and 421", host: toLMTP + "S: 250 ok\nS: ok\nS: 421 bye", with: lmtp, to: 2, want: "delivered final 250; unknown final 451 local", whole: 1},
	{name: "LMTP: garbage for the second of three, then silence", host: "S: 220 hi\nC: LHLO\n" + pipelined + "C: MAIL\nC: RCPT\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nmessage\nS: 550 no\nS: ok\nS: 250 ok", with: lmtp, to: 3, want: "rejected final 550; unknown final 451 local; unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "LMTP: an empty line between", host: toLMTP + "S: 250 ok\nS: \nS: 550 no", with: lmtp, to: 2, want: "delivered final 250; rejected final 550", ready: true, whole: 1},
	{name: "LMTP: a line without a code for the first", host: toLMTP + "S: ok\nS: 550 no", with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1, takes: 10 * time.Minute},
	{name: "LMTP: lines without end", host: toLMTP + "S: 250 ok\n" + `flood "250-ok\r\n"`, with: lmtp, to: 2, want: "delivered final 250; unknown final 451 local", whole: 1},
	{name: "LMTP: 421 for the first", host: toLMTP + "S: 421 bye\nclose", with: lmtp, to: 2, want: "deferred final 421; unknown final 451 local", whole: 1},
	{name: "LMTP: 421 for the first, 250 for the second", host: toLMTP + "S: 421 bye\nS: 250 ok", with: lmtp, to: 2, want: "deferred final 421; delivered final 250", whole: 1},
}

// hostileSessions have a second message.
var hostileSessions = []hostileCase{
	{name: "RSET unanswered", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 450 no\nC: RSET", send: 2, want: "deferred rcpt 450; deferred mail 451 local", takes: 5 * time.Minute},
	{name: "RSET refused", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 450 no\nC: RSET\nS: 502 what?", send: 2, want: "deferred rcpt 450; deferred mail 502"},
	{name: "RSET 421", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 450 no\nC: RSET\nS: 421 bye", send: 2, want: "deferred rcpt 450; deferred mail 421"},
	{name: "RSET 354", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 450 no\nC: RSET\nS: 354 go", send: 2, want: "deferred rcpt 450; deferred mail 451 local"},
	{name: "RSET refused among others", host: hello + "C: MAIL\nC: RCPT\nC: DATA\n" + "S: 250 ok\nS: 450 no\nS: 503 no\nC: RSET\nC: MAIL\nC: RCPT\nC: DATA\nS: 502 what?\nS: 250 ok\nS: 250 ok\nS: 354 go", send: 2, want: "deferred rcpt 450; deferred mail 502"},
	{name: "idle: 421", host: plainHello + inTurn + "sleep 500ms\nS: 421 bye", send: 2, want: "delivered final 250; deferred mail 421", whole: 1, left: "MAIL FROM:<ann@client.test>"},
	{name: "idle: closed", host: plainHello + inTurn + "sleep 500ms\nclose", send: 2, want: "delivered final 250; deferred mail 451 local", whole: 1},
	{name: "idle: garbage", host: plainHello + inTurn + "sleep 500ms\nS: hello?", send: 2, want: "delivered final 250; deferred mail 451 local", whole: 1, left: "MAIL FROM:<ann@client.test>", takes: 5 * time.Minute},
	{name: "idle: lines without end", host: plainHello + inTurn + "sleep 500ms\n" + `flood "250-ok\r\n"`, send: 2, want: "delivered final 250; deferred mail 451 local", whole: 1},
	{name: "idle: a late 250", host: hello + atOnce + "sleep 500ms\nS: 250 ok\nC: MAIL\nC: RCPT\nC: DATA\n" + ready, send: 2, want: "delivered final 250; deferred data 451 local", whole: 1},
	{name: "idle: a late 250 before a rejection", host: hello + "C: MAIL\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\n" + ready + "message\nS: 250 ok\nsleep 500ms\nS: 250 ok\nC: MAIL\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 550 who?\nS: 250 ok\nS: 354 go", send: 2, to: 2,
		want: "delivered final 250; delivered final 250; deferred data 451 local; deferred data 451 local", whole: 1},
	{name: "QUIT unanswered", host: hello + atOnce + "C: QUIT", want: "delivered final 250", ready: true, whole: 1},
	{name: "QUIT answered without end", host: hello + atOnce + "C: QUIT\n" + `flood "221-bye\r\n"`, want: "delivered final 250", ready: true, whole: 1},
	{name: "QUIT answered by an octet a second", host: hello + atOnce + "C: QUIT\ntrickle 1s\nS: 221 bye", want: "delivered final 250", ready: true, whole: 1},
}
