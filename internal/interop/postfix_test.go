package interop

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// postfixBase is what the main.cf of each Postfix begins with.
const postfixBase = `compatibility_level = 3.6
queue_directory = @dir@/queue
data_directory = @dir@/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
`

// There is no maillog_file: Postfix logs to that by a socket which holds ten datagrams (net.unix.max_dgram_qlen) until master
// has started postlogd, and master, which also logs to it, was seen to wait for itself.
const postfixMain = postfixBase + `myhostname = postfix.test
mynetworks = 127.0.0.0/8
local_header_rewrite_clients =
virtual_mailbox_domains = postfix.test
virtual_mailbox_base = @dir@/box
virtual_mailbox_maps = regexp:@dir@/etc/boxes
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:@uid@
virtual_gid_maps = static:@gid@
message_size_limit = 10485760
smtpd_tls_security_level = may
smtpd_tls_cert_file = @cert@
smtpd_tls_key_file = @key@
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = @auth@
smtpd_error_sleep_time = 0
smtpd_sender_restrictions = check_sender_access regexp:@dir@/etc/senders
smtpd_recipient_restrictions = check_policy_service inet:@policy@
header_checks = regexp:@dir@/etc/headers
alias_maps =
alias_database =
`

// postfix starts a Postfix of its own that delivers everything for postfix.test into a maildir. A Dovecot checks its
// passwords, and a policy service greylists.
func postfix(t *testing.T) *nextHost { return postfixWith(t, "") }

// postfixWith has more lines of main.cf, which go before those above.
func postfixWith(t *testing.T, lines string) *nextHost {
	t.Helper()
	needRoot(t)
	need(t, "postfix", "dovecot")
	dir := serverDir(t, "postfix")
	etc, box := filepath.Join(dir, "etc"), filepath.Join(dir, "box")
	uid, gid := account(t, "postfix")
	mkdirs(t, 0, 0, etc)
	mkdirs(t, uid, gid, box)
	cert := newCertificate(t, dir, "postfix.test")
	h := &nextHost{
		name:    "postfix",
		version: programVersion(`(\S+)`, "postconf", "-hd", "mail_version"),
		port:    freePort(t),
		tlsPort: freePort(t),
		roots:   cert.roots,
		mails:   func(t *testing.T) []mail { return maildir(t, filepath.Join(box, "all"), "X-Original-To") },
	}
	h.route = "127.0.0.1:" + h.port
	write(t, filepath.Join(etc, "boxes"), "!/^nobody/ all/\n")
	write(t, filepath.Join(etc, "senders"), "/^refused/ REJECT 5.7.1 sender refused\n")
	write(t, filepath.Join(etc, "headers"), "/^X-Refuse:/ REJECT content refused\n")
	main := configured(postfixMain, "@dir@", dir, "@uid@", fmt.Sprint(uid), "@gid@", fmt.Sprint(gid),
		"@cert@", cert.cert, "@key@", cert.key, "@auth@", dovecotAuth(t), "@policy@", greylist(t)) + lines
	startPostfix(t, dir, main, "127.0.0.1:"+h.port+" inet n - n - - smtpd", "127.0.0.1:"+h.tlsPort+" inet n - n - - smtpd -o smtpd_tls_wrappermode=yes")
	waitPort(t, h.port)
	return h
}

// startPostfix starts a Postfix in a directory, with a main.cf, and with lines for its SMTP servers in place of the system's one.
func startPostfix(t *testing.T, dir, main string, servers ...string) {
	t.Helper()
	etc := filepath.Join(dir, "etc")
	uid, gid := account(t, "postfix")
	mkdirs(t, 0, 0, etc, filepath.Join(dir, "queue"))
	mkdirs(t, uid, gid, filepath.Join(dir, "data"))
	for _, name := range []string{"dynamicmaps.cf", "postfix-files", "postfix-script", "post-install", "makedefs.out"} {
		if data, err := os.ReadFile("/etc/postfix/" + name); err == nil {
			write(t, filepath.Join(etc, name), string(data))
		}
	}
	write(t, filepath.Join(etc, "main.cf"), main)
	write(t, filepath.Join(etc, "master.cf"), postfixMaster(t, servers))
	if out, err := exec.Command("postfix", "-c", etc, "start").CombinedOutput(); err != nil {
		t.Fatalf("postfix start: %v\n%s", err, out)
	}
	t.Cleanup(func() { exec.Command("postfix", "-c", etc, "stop").Run() })
}

// postfixMaster is the system's master.cf with other SMTP servers, and without the chroots that its start script would have to fill.
func postfixMaster(t *testing.T, servers []string) string {
	t.Helper()
	master, err := os.ReadFile("/etc/postfix/master.cf")
	if err != nil {
		master, err = os.ReadFile("/usr/share/postfix/master.cf.dist")
	}
	if err != nil {
		missing(t, "Postfix has no master.cf")
	}
	text := regexp.MustCompile(`(?m)^smtp +inet.*$`).ReplaceAllLiteralString(string(master), strings.Join(servers, "\n"))
	text = regexp.MustCompile(`(?m)^(\S+ +(?:unix|inet|fifo|pass|unix-dgram) +\S+ +\S+ +)y`).ReplaceAllString(text, "${1}n")
	return text
}

// greylist is a policy service of Postfix, as its SMTPD_POLICY_README has them: it puts off a recipient whose name begins
// with "grey" the first time that it sees it.
func greylist(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen sync.Map
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				action := "DUNNO"
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					to, isTo := strings.CutPrefix(lines.Text(), "recipient=")
					if _, again := seen.Load(to); isTo && strings.HasPrefix(to, "grey") && !again {
						seen.Store(to, true)
						action = "DEFER_IF_PERMIT 4.7.1 come back later"
					}
					if lines.Text() == "" {
						fmt.Fprintf(conn, "action=%s\n\n", action)
						action = "DUNNO"
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}
