# Reads the mails in a directory by MIME::Parser: read_mails.pl DIRECTORY. Prints a line of JSON for each, by name.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Encode;
use JSON::PP;
use Mail::Address;
use MIME::Parser;

my ($directory) = @ARGV;
my $parser = MIME::Parser->new;
$parser->output_to_core(1);
$parser->tmp_to_core(1);

# Encode writes what RFC 2047 says; it is a reader of its own beside MIME::Parser's.
sub text { my $s = shift // ''; $s =~ s/\r?\n(?=[ \t])//g; chomp $s; decode('MIME-Header', $s) }

# MIME::Head makes an encoded-word of a value in the form of RFC 2231.
sub name { text(shift->head->mime_attr('content-disposition.filename')) }

sub leaves {
	my $part = shift;
	return map { leaves($_) } $part->parts if $part->is_multipart;
	my $body = $part->bodyhandle->as_string;
	my $kind = $part->mime_type;
	$body =~ s/\r\n/\n/g if $kind =~ m{^text/} && !name($part);
	my ($id) = ($part->head->get('Content-ID') // '') =~ /^<([^@>]*)/;
	return {
		Kind => $kind, Name => name($part), ID => $id // '', Body => sha256_hex($body), Defects => '',
		Method => $part->head->mime_attr('content-type.method') // '',
	};
}

opendir my $dir, $directory or die $!;
for my $file (sort grep { !/^\./ } readdir $dir) {
	my $m = $parser->parse_open("$directory/$file");
	my %addresses;
	for my $field (qw(From To Cc Reply-To)) {
		my $value = $m->head->get($field) // '';
		$value =~ s/\r?\n(?=[ \t])//g;
		chomp $value;
		$addresses{$field} = [map {
			my $phrase = $_->phrase;
			$phrase =~ s/^"(.*)"$/$1/ and $phrase =~ s/\\(.)/$1/g;
			[text($phrase), $_->address]
		} Mail::Address->parse($value)];
	}
	print encode_json({
		Name => $file, Subject => text($m->head->get('Subject')), Addresses => \%addresses, Leaves => [leaves($m)],
	}), "\n";
}
