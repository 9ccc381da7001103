"""Programs that the real images have and the lab lacks: each prints that the lab lacks it."""

from __future__ import annotations

from ekslab.node.process import Process
from ekslab.node.programs import program

# Of coreutils, diffutils, gzip, libc-bin, ncurses-bin, openssl, passwd, perl-base, tar and util-linux in /usr/bin.
_LIST = """
apt-cache apt-config apt-key apt-mark basenc chage chattr chcon chfn chroot chrt chsh cksum cmp csplit
debconf diff diff3 dir dircolors dpkg-deb dpkg-query envsubst expand expiry factor faillog fallocate findmnt
flock fmt getconf getopt gpasswd gunzip gzexe gzip hostid iconv infocmp install ipcs join ldd link locale
logger lsattr lsblk lscpu lsipc lslocks lsmem lsns mcookie mesg mkfifo mknod more mountpoint namei newgrp
nsenter numfmt openssl pathchk perl pinky pr prlimit ptx renice runcon script sdiff setterm shuf split sum
tabs tar taskset tic tput tset tsort unexpand vdir wall wdctl whereis zcat zgrep
"""
NAMES = tuple(_LIST.split())


@program(*NAMES)
async def lacking(p: Process) -> int:
    return p.fail("embedded lab: the real image has this program, the lab doesn't", 1)
