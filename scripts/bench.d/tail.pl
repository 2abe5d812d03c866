#!/usr/bin/perl
# The Perl baseline of scripts/bench: nph-CGI, the last ten lines of $SSE_FILE, then every
# line that is appended, one event each. It loads no module but strict and warnings, so that
# it is small and starts fast.
#
# inotify is called by number (BENCH_INOTIFY contains those of inotify_init1 and
# inotify_add_watch on this machine); without the numbers it polls every 0.5 s.
use strict;
use warnings;

my $path = $ENV{SSE_FILE} // exit 100;
my $heartbeat = ($ENV{SSE_HEARTBEAT} // 15) + 0;
$SIG{PIPE} = sub { exit 0 };

my ($init, $add) = split /,/, $ENV{BENCH_INOTIFY} // '';
my $notify;
if ($add) {
    my $fd = syscall($init, 0x80800);    # IN_CLOEXEC | IN_NONBLOCK
    if ($fd >= 0) {
        open $notify, '<&=', $fd or undef $notify;
        my ($folder) = $path =~ m{^(.*)/};
        syscall($add, $fd, "$folder", 0x180);    # IN_CREATE | IN_MOVED_TO
    }
}

my ($file, $inode, $offset, $rest);

sub open_file {
    open($file, '<:raw', $path) or do { undef $file; return };
    $inode = (stat $file)[1];
    syscall($add, fileno $notify, "$path", 2) if $notify;    # IN_MODIFY
    ($offset, $rest) = (0, '');
}

sub put {
    my ($text) = @_;
    while (length $text) {
        my $sent = syswrite STDOUT, $text;
        exit 0 unless defined $sent;
        substr($text, 0, $sent, '');
    }
}

sub ready {
    return '' unless $file;
    my $out = '';
    sysseek $file, $offset + length $rest, 0;
    while (sysread $file, $rest, 8192, length $rest) {
        my $from = 0;
        while ((my $end = index $rest, "\n", $from) >= 0) {
            my $line = substr $rest, $from, $end - $from;
            $from = $end + 1;
            $line =~ s/\r\z//;
            $line =~ s/\r\n?/\ndata: /g;
            $out .= 'id: ' . ($offset + $from) . "\ndata: $line\n\n";
        }
        $offset += $from;
        substr($rest, 0, $from, '');
    }
    ($offset, $rest) = (0, '') if -s $file < $offset;
    return $out;
}

my @now = gmtime;
my $date = sprintf '%s, %02d %s %d %02d:%02d:%02d GMT',
    (qw(Sun Mon Tue Wed Thu Fri Sat))[$now[6]], $now[3],
    (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[$now[4]],
    1900 + $now[5], @now[2, 1, 0];
my $out = "HTTP/1.1 200 OK\r\nDate: $date\r\nContent-Type: text/event-stream\r\n"
    . "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
    . "retry: 3000\n: tail\n";

open_file();
if ($file) {
    my $size = -s $file;
    for (my $block = 8192; $block <= 65536; $block *= 2) {
        my $from = $size > $block ? $size - $block : 0;
        sysseek $file, $from, 0;
        sysread $file, my $end, $size - $from;
        my $at = length $end;
        for (1 .. 11) {
            $at = $at > 0 ? rindex $end, "\n", $at - 1 : -1;
            last if $at < 0;
        }
        $offset = $from + $at + 1;
        last if $at >= 0 || $from == 0;
    }
}
put($out . ready());

my $sent_at = time;
for (;;) {
    my ($read, $gone) = ('', '');
    vec($read, fileno $notify, 1) = 1 if $notify;
    my $silence = $sent_at + $heartbeat - time;
    $silence = 0 if $silence < 0;
    my $count = select $read, undef, undef, $notify ? $silence : 0.5;
    if ($notify && $count > 0) {
        sysread $notify, my $hints, 4096;
    }
    my $new = (stat $path)[1];
    $out = ready();
    if (defined $new && (!$file || $new != $inode)) {
        open_file();
        $out .= ready();
    }
    $out = ":\n" if $out eq '' && time >= $sent_at + $heartbeat;
    if ($out ne '') {
        put($out);
        $sent_at = time;
    }
}
