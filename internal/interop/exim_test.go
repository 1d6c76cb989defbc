package interop

import (
	"os"
	"path/filepath"
	"testing"
)

// The ratelimit holds from the second attempt on: what it doesn't hold for is put off, which is greylisting.
const eximConfig = `primary_hostname = exim.test
exim_path = @exim@
exim_user = Debian-exim
exim_group = Debian-exim
deliver_drop_privilege
spool_directory = @dir@/spool
log_file_path = @dir@/log/%s
pid_file_path = @dir@/spool/pid
keep_environment =
host_lookup =
smtp_accept_queue_per_connection = 0
local_interfaces = 127.0.0.1
daemon_smtp_ports = @port@ : @tlsPort@
tls_on_connect_ports = @tlsPort@
tls_advertise_hosts = *
tls_certificate = @cert@
tls_privatekey = @key@
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
message_size_limit = 10M
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
mail:
  deny
    senders = ^refused
    message = 550 5.7.1 sender refused
  deny
    senders = ^small
    condition = ${if >{$message_size}{4M}}
    message = 552 5.3.4 too big from you
  accept
rcpt:
  defer
    local_parts = ^grey
    ! ratelimit = 1.5 / 1h / strict / $sender_address-$local_part
    message = 451 4.7.1 come back later
  require
    verify = recipient
  accept
data:
  deny
    condition = ${if def:h_X-Refuse:}
    message = 550 5.6.0 content refused
  accept
begin routers
box:
  driver = accept
  domains = exim.test
  local_parts = ! ^nobody
  transport = box
begin transports
box:
  driver = appendfile
  user = Debian-exim
  directory = @dir@/box
  maildir_format
  envelope_to_add
  return_path_add
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{ann}}{eq{$auth3}{secret}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
`

// exim starts an Exim of its own that delivers everything for exim.test into a maildir.
func exim(t *testing.T) *nextHost { return eximWith(t, "") }

// eximWith has more lines of main configuration, which go before those above.
func eximWith(t *testing.T, lines string) *nextHost {
	t.Helper()
	needRoot(t)
	program := lookProgram(t, "exim4", "exim4-daemon-light")
	dir := serverDir(t, "exim")
	uid, gid := account(t, "Debian-exim")
	box := filepath.Join(dir, "box")
	mkdirs(t, uid, gid, filepath.Join(dir, "spool"), filepath.Join(dir, "log"), box)
	cert := newCertificate(t, dir, "exim.test")
	h := &nextHost{
		name:    "exim",
		version: programVersion(`Exim version (\S+)`, program, "-C", "/dev/null", "-bV"),
		port:    freePort(t),
		tlsPort: freePort(t),
		roots:   cert.roots,
		mails:   func(t *testing.T) []mail { return maildir(t, box, "Envelope-to") },
	}
	h.route = "127.0.0.1:" + h.port
	conf := filepath.Join(dir, "exim.conf")
	write(t, conf, configured(lines+eximConfig, "@exim@", program, "@dir@", dir, "@port@", h.port, "@tlsPort@", h.tlsPort, "@cert@", cert.cert, "@key@", cert.key))
	startServer(t, filepath.Join(dir, "log/main"), program, "-C", conf, "-bdf")
	waitPort(t, h.port)
	if _, err := os.Stat(filepath.Join(dir, "log/panic")); err == nil {
		t.Error("Exim isn't content with its configuration")
	}
	return h
}
