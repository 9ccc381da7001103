"""The system calls of the simulated kernel, one module for each family; `Process` (`process.py`) has them all.

lookup        stat, access, readlink, inotify                 no events
files         openat, read, write, close, dup, pipe, chdir    openat, dup2, chdir
directories   mkdir, unlink, rename, link, symlink            mkdir, unlinkat, rename, renameat2, linkat, symlinkat
attributes    chmod, chown, utime, truncate                   fchmodat, fchownat
processes     fork, execve, wait, exit, ptrace                clone, vfork, execve, ptrace (procexit: `kernel.py`)
signals       kill, signal handlers                           kill
credentials   setuid, setgid, setsid, unshare, setns          setuid, setgid, unshare, setns
memory        memfd_create, userfaultfd                       memfd_create, userfaultfd
loading       bpf, finit_module                               bpf, finit_module
sockets       socket, connect, listen, HTTP                   socket, connect
"""
