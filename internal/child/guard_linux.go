package child

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// guardScript ends the sessions of this program, and all that has a mark of it, when
// this program was killed. It sleeps until the end of a pipe whose other end only we
// hold. Then it reads the register, a file in memory with a line for each session:
// "+SID", or "=SID" if its leader is gone but not the rest of it; and "*0" if there may
// be what has a mark and no session. After a clean shutdown there is no line. A number
// whose leader is gone is left alone if a process bears it, as it is of another program
// then. Its argument is what the marks start with. Reading is by the shell's own means,
// so that it needs no other program.
const guardScript = `
trap '' HUP INT QUIT TERM
run=$1
read -r line
all=' ' armed=
while read -r line <&3; do
	sid=${line#?}
	case $line in
	+*) all="$all$sid " armed=1 ;;
	=*) armed=1; [ -d "/proc/$sid" ] || all="$all$sid " ;;
	'*'*) armed=1 ;;
	esac
done
[ -n "$armed" ] || exit
marked() {
	while read -r max file locks soft rest; do
		case "$max $file $locks $soft" in "Max file locks $run"?????????) return 0 ;; esac
	done 2>/dev/null <"$1/limits"
	return 1
}
for round in 1 2 3; do
	for sid in $all; do
		kill -9 "-$sid" 2>/dev/null
	done
	for dir in /proc/[0-9]*; do
		IFS= read -r line 2>/dev/null <"$dir/stat" || continue
		set -- ${line##*) }
		case $all in *" $4 "*) kill -9 "${dir#/proc/}" 2>/dev/null ;; esac
	done
	[ -n "$run" ] || continue
	for dir in /proc/[0-9]*; do
		marked "$dir" && kill -9 "${dir#/proc/}" 2>/dev/null
	done
done
`

// guard is the one guard process of this program. It is a variable of the package
// because what it watches, the death of this program, is one too. It starts with
// the first child and lives as long as this program.
var guard struct {
	mu       sync.Mutex
	absent   bool // no shell was found
	cmd      *exec.Cmd
	pipe     *os.File
	register *os.File
	sessions map[int]guarded
	free     []int64 // lines that are empty
	lines    int64   // all of them
}

// guarded is a session in the register.
type guarded struct {
	sign byte // '+', '=', or '*'
	line int64
}

// guardLine is the length of a line of the register. Lines are filled up with
// blanks, so that one can be written over another.
const guardLine = 16

// guardPID returns the process of the guard, or 0.
func guardPID() int {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if guard.cmd == nil {
		return 0
	}
	return guard.cmd.Process.Pid
}

// guardSession reports a new session to the guard.
func guardSession(sid int) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	awaitGuard()
	setGuarded(sid, '+')
	if _, armed := guard.sessions[strayed]; !armed && family.adopts.Load() {
		setGuarded(strayed, '*')
	}
}

// strayed stands in the register for what has a mark and no session that is known. No
// session has the number.
const strayed = 0

// disarmGuard says that nothing is left of all that was started.
func disarmGuard() { unguardSession(strayed) }

// guardRemains reports to the guard that the leader of a session has been waited for,
// but others of the session live on.
func guardRemains(sid int) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	setGuarded(sid, '=')
	live := liveSessions()
	for sid, g := range guard.sessions {
		if g.sign == '=' && !live[sid] {
			dropGuarded(sid)
		}
	}
}

// unguardSession reports to the guard that a session has ended.
func unguardSession(sid int) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	dropGuarded(sid)
}

func setGuarded(sid int, sign byte) {
	if guard.register == nil {
		return
	}
	g, known := guard.sessions[sid]
	switch n := len(guard.free) - 1; {
	case known:
	case n >= 0:
		g.line, guard.free = guard.free[n], guard.free[:n]
	default:
		g.line = guard.lines
		guard.lines++
	}
	g.sign = sign
	guard.sessions[sid] = g
	writeGuarded(g.line, strconv.AppendInt([]byte{sign}, int64(sid), 10))
}

func dropGuarded(sid int) {
	g, known := guard.sessions[sid]
	if !known {
		return
	}
	delete(guard.sessions, sid)
	guard.free = append(guard.free, g.line)
	writeGuarded(g.line, nil)
}

// writeGuarded writes one line. There is nothing to be done about an error, which
// only a machine without memory has.
func writeGuarded(line int64, text []byte) {
	var buf [guardLine]byte
	for i := copy(buf[:], text); i < len(buf)-1; i++ {
		buf[i] = ' '
	}
	buf[len(buf)-1] = '\n'
	_, _ = guard.register.WriteAt(buf[:], line*guardLine)
}

// awaitGuard starts a guard if there is none, or if the one before has died.
func awaitGuard() {
	if guard.absent {
		return
	}
	if guard.cmd != nil {
		// Its number may be another's if it was buried as an orphan, so that it is
		// asked for by its handle first.
		if guard.cmd.Process.Signal(syscall.Signal(0)) == nil {
			pid, err := syscall.Wait4(guard.cmd.Process.Pid, nil, syscall.WNOHANG, nil)
			if pid == 0 && err == nil {
				return
			}
		}
		_ = guard.cmd.Process.Release()
		_ = guard.pipe.Close()
		guard.cmd, guard.pipe = nil, nil
	}
	if err := startGuard(); err != nil {
		guard.absent = errors.Is(err, fs.ErrNotExist) // else tried again with the next child
	}
}

func startGuard() error {
	if guard.register == nil {
		fd, err := unix.MemfdCreate("sandbox-agent-guard", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		guard.register = os.NewFile(uintptr(fd), "sandbox-agent-guard")
		guard.sessions = make(map[int]guarded)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path:        "/bin/sh",
		Args:        []string{"sandbox-agent-guard", "-c", guardScript, "sandbox-agent-guard", thisRun()},
		Dir:         "/",
		Env:         sandboxEnv(),
		Stdin:       r,
		ExtraFiles:  []*os.File{guard.register}, // descriptor 3
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := startUnmarked(cmd); err != nil {
		_ = w.Close()
		return err
	}
	guard.cmd, guard.pipe = cmd, w
	return nil
}
