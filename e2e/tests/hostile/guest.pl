#!/usr/bin/perl
# Runs in a guest, in place of its agent, and is no good. perl-base is part of every Debian.
# The first argument says how. Whatever it does, it does until it is killed.
use strict;
use warnings;
use Fcntl;

my $mode = shift // die "how?\n";
my ($port, $in) = (undef, '');
my %window = (0 => 65535);

sub slurp { open(my $f, '<', $_[0]) or return ''; local $/; my $text = <$f>; return $text // '' }
sub doze { select(undef, undef, undef, shift) }

# So that it is known from outside.
sub announce { open(my $console, '>', '/dev/console') or return; syswrite($console, "hostile: $mode\n") }

# The agent and whoever keeps it running, and whoever was here before us.
sub alone {
    while (1) {
        my @them = grep { slurp("/proc/$_/comm") eq "sistemo-agent\n" || slurp("/proc/$_/cmdline") =~ m{/root/guest\.pl} }
            grep { $_ != $$ } map { m{^/proc/(\d+)$} } glob('/proc/[0-9]*');
        return unless @them;
        kill 'KILL', @them;
        doze(0.05);
    }
}

sub open_port {
    my ($name) = map { m{([^/]+)/name$} } grep { slurp($_) =~ /^org\.sistemo\.agent\.0$/m } glob('/sys/class/virtio-ports/*/name');
    for (1 .. 200) {
        return if sysopen($port, "/dev/$name", O_RDWR);
        doze(0.05);
    }
    die "the port is not free: $!\n";
}

sub put {
    my $bytes = shift;
    while (length $bytes) {
        my $n = syswrite($port, $bytes, 32768);
        if (!$n) { doze(0.02); next }
        substr($bytes, 0, $n, '');
    }
}

# Nothing read: no host is there.
sub more {
    my $n = sysread($port, $in, 32768, length $in);
    doze(0.02) unless $n;
}

sub take { my $n = shift; more() while length $in < $n; return substr($in, 0, $n, '') }

# The handshake, up to the host's preface.
sub meet {
    my $syn = "\xff\xff\xff\xffsistemo/SYN1";
    more() until $in =~ /\Q$syn\E(.{16})/s;
    put("\xff\xff\xff\xffsistemo/ACK1$1" . ("h" x 16));
    my $go = "\xff\xff\xff\xffsistemo/GO-1" . ("h" x 16);
    return if $mode eq 'handshake';
    more() until $in =~ s/^.*\Q$go\E//s;
    take(24);
}

sub frame {
    my ($type, $flags, $stream, $payload) = @_;
    return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $stream) . $payload;
}

# Takes one frame of the host's and sees to what must be seen to.
sub hear {
    my $head = take(9);
    # A new host speaks.
    if ($head =~ /^\xff\xff\xff/) { $in = $head . $in; die "over\n" }
    my ($length, $type, $flags, $stream) = unpack('a3CCN', $head);
    my $payload = take(unpack('N', "\0$length"));
    if ($type == 8) { $window{$stream} = ($window{$stream} // $window{new} // 65535) + unpack('N', $payload) }
    elsif ($type == 6 && !($flags & 1)) { put(frame(6, 1, 0, $payload)) }
    elsif ($type == 4 && !($flags & 1)) {
        # SETTINGS_INITIAL_WINDOW_SIZE
        while ($payload =~ /\G(..)(....)/gs) { $window{new} = unpack('N', $2) if unpack('n', $1) == 4 }
        put(frame(4, 1, 0, ''));
    }
    return ($type, $stream);
}

sub data {
    my ($stream, $bytes, $last) = @_;
    $window{$stream} //= $window{new} // 65535;
    while (length $bytes) {
        my $n = (sort { $a <=> $b } 16384, $window{0}, $window{$stream}, length $bytes)[0];
        if ($n <= 0) { hear(); next }
        $window{$_} -= $n for 0, $stream;
        put(frame(0, $last && $n == length $bytes ? 1 : 0, $stream, substr($bytes, 0, $n, '')));
    }
}

# What an agent says of itself: so many notes of such a length, and numbers beyond sense.
sub state {
    my ($notes, $length) = @_;
    my $note = '"\u001b[2J' . ('x' x $length) . '"';
    my $growth = '{"serial":"\u0000","done":18446744073709551615,"total":1}';
    return sprintf '{"protocol":4000000000,"agent":"%s","generation":18446744073709551615,"root_mounted":true,'
        . '"notes":[%s],"growing":[%s],"later":[[[[]]]]}', 'a' x 5000, join(',', ($note) x $notes), join(',', ($growth) x 1000);
}

# Serves as an agent would, with other answers.
sub serve {
    %window = (0 => 65535);
    put(frame(4, 0, 0, ''));
    while (1) {
        my ($type, $stream) = hear();
        next unless $type == 1;
        # 0x88: `:status: 200`, as HPACK has it.
        put(frame(1, 4, $stream, "\x88"));
        if ($stream == 1) {
            if ($mode eq 'hello-endless') { data(1, ' ' x 65536, 0) while 1 }
            data(1, $mode eq 'hello-huge' ? state(3000, 1000) : state(10, 3), 1);
        } elsif ($stream == 3) {
            if ($mode eq 'news-endless') { data(3, 'x' x 65536, 0) while 1 }
            if ($mode eq 'news-flood') {
                for (my $n = 0; ; $n++) { data(3, state($n % 7, 20) . "\n", 0) }
            }
        } elsif ($mode eq 'exec-flood') {
            # Standard output without end.
            data($stream, "\x02" . pack('N', 16384) . ('y' x 16384), 0) while 1;
        } elsif ($mode eq 'exec-nonsense') {
            data($stream, "\xee\xff\xff\xff\xff" x 1000, 0);
        }
    }
}

sub rubbish { return join '', map { pack 'N', int rand 4294967296 } 1 .. 8192 }

if ($mode eq 'console') {
    open(my $console, '>', '/dev/console') or die "$!\n";
    my $text = join '', map { "line $_ of a guest that does not stop\n" } 1 .. 500;
    while (1) { syswrite($console, $text) or doze(0.01) }
}
alone();
if ($mode eq 'gone') { announce(); sleep 1000 while 1 }
open_port();
announce() if $mode =~ /^(silence|garbage|answers)$/;
if ($mode eq 'silence') { sleep 1000 while 1 }
if ($mode eq 'garbage') { my $bytes = rubbish(); put($bytes) while 1 }
if ($mode eq 'answers') { my $bytes = ("\xff\xff\xff\xffsistemo/ACK1" . ('n' x 32)) x 600; put($bytes) while 1 }
meet();
announce();
if ($mode eq 'handshake') { sleep 1000 while 1 }
if ($mode eq 'frame-huge') { put("\xff\xff\xff\x00\x00\x00\x00\x00\x01"); my $bytes = rubbish(); put($bytes) while 1 }
if ($mode eq 'headers-endless') {
    put(frame(4, 0, 0, '') . frame(1, 0, 1, "\x88"));
    my $bytes = frame(9, 0, 1, "\x00\x01a\x7f\x81\x7d" . ('z' x 16000)) x 2;
    put($bytes) while 1;
}
if ($mode eq 'pings') { put(frame(4, 0, 0, '')); my $bytes = frame(6, 0, 0, 'hostile!') x 1500; put($bytes) while 1 }
if ($mode eq 'settings') { put(frame(4, 0, 0, '')); my $bytes = frame(4, 0, 0, '') x 3000; put($bytes) while 1 }
# A session that ends badly is met again.
while (1) {
    eval { serve() };
    meet();
}
