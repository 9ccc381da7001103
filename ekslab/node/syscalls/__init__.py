"""The system calls of the simulated kernel, one module for each family; `Process` (`process.py`) has them all.

lookup        stat, access, readlink, inotify                 no events
files         openat, read, write, close, dup, pipe, chdir    openat, dup2, chdir
directories   mkdir, unlink, rename, link, symlink            mkdir, unlinkat, rename, renameat2, linkat, symlinkat
attributes    chmod, chown, utime, truncate                   fchmodat, fchownat
processes     fork, execve, wait, exit, ptrace                clone, vfork, execve, ptrace (procexit: `kernel.py`)
signals       kill, signal handlers                           kill
credentials   setuid, setgid, setsid, unshare                 setuid, setgid, unshare
memory        memfd_create, userfaultfd                       memfd_create, userfaultfd
sockets       socket, connect, listen, HTTP                   socket, connect
"""
