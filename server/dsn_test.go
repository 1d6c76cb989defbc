package server

import (
	"strings"
	"testing"
	"testing/synctest"
)

// TestNoDSN: what isn't offered isn't taken.
func TestNoDSN(t *testing.T) {
	for _, no := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newWorld(t, &Server{NoDSN: no}).dial()
			if got := c.want(ehlo, "220", "250"); strings.Contains(got, "DSN") == no {
				t.Errorf("got %q, want DSN offered: %t", got, !no)
			}
			code := map[bool]string{false: "250", true: "555"}[no]
			for _, params := range []string{"RET=HDRS", "ENVID=1"} {
				c.want("MAIL FROM:<a@x.test> "+params+"\r\n", code)
				c.want("RSET\r\n", "250")
			}
			c.want("MAIL FROM:<a@x.test>\r\n", "250")
			for _, params := range []string{"NOTIFY=NEVER", "NOTIFY=SUCCESS", "ORCPT=rfc822;b@y.test"} {
				c.want("RCPT TO:<b@y.test> "+params+"\r\n", code)
			}
			c.want("RCPT TO:<b@y.test>\r\n", "250")
		})
	}
}
