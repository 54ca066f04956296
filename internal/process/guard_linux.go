package process

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// guardScript ends the sessions of this program when this program was killed. It
// reads lines from a pipe whose other end only we hold: "+SID" for a session,
// "=SID" once its leader is gone but not the rest of it, "-SID" when it is over.
// At the end of the pipe it kills what is registered; after a clean shutdown that
// is nothing. A number whose leader is gone is left alone if a process bears it,
// as it is somebody else's then. Reading is by the shell's own means, so that it
// needs no other program.
const guardScript = `
trap '' HUP INT QUIT TERM
led=' ' rest=' '
drop() {
	case $led in *" $1 "*) led="${led%%" $1 "*} ${led#*" $1 "}" ;; esac
	case $rest in *" $1 "*) rest="${rest%%" $1 "*} ${rest#*" $1 "}" ;; esac
}
while IFS= read -r line; do
	sid=${line#?}
	drop "$sid"
	case $line in
	+*) led="$led$sid " ;;
	=*) rest="$rest$sid " ;;
	esac
done
all=$led
for sid in $rest; do
	[ -d "/proc/$sid" ] || all="$all$sid "
done
[ "$all" = ' ' ] && exit
for round in 1 2 3; do
	for sid in $all; do
		kill -9 "-$sid" 2>/dev/null
	done
	for dir in /proc/[0-9]*; do
		IFS= read -r line 2>/dev/null <"$dir/stat" || continue
		set -- ${line##*) }
		case $all in *" $4 "*) kill -9 "${dir#/proc/}" 2>/dev/null ;; esac
	done
done
`

// guard is the one guard process of this program. It is a variable of the package
// because what it watches, the death of this program, is one too. It starts with
// the first child and lives as long as this program.
var guard struct {
	mu       sync.Mutex
	absent   bool // there is no shell
	cmd      *exec.Cmd
	pipe     *os.File
	sessions map[int]byte // sign by session, as in the lines of the script
}

// guardSession tells the guard of a new session.
func guardSession(sid int) { tellGuard(sid, '+') }

// guardRemains tells the guard that the leader of a session has been waited for,
// but others of the session live on.
func guardRemains(sid int) { tellGuard(sid, '=') }

// unguardSession tells the guard that a session is over.
func unguardSession(sid int) { tellGuard(sid, '-') }

func tellGuard(sid int, sign byte) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if guard.absent || (sign == '-' && guard.sessions[sid] == 0) {
		return
	}
	if guard.sessions == nil {
		guard.sessions = make(map[int]byte)
	}
	if sign == '-' {
		delete(guard.sessions, sid)
	} else {
		guard.sessions[sid] = sign
	}
	if sign == '=' {
		forgetGone()
	}
	if guard.pipe != nil && writeGuard(sid, sign) == nil {
		return
	}
	startGuard()
}

// forgetGone drops the sessions that were left behind and are over by now.
func forgetGone() {
	live := liveSessions()
	for sid, sign := range guard.sessions {
		if sign == '=' && !live[sid] {
			delete(guard.sessions, sid)
			if guard.pipe != nil {
				_ = writeGuard(sid, '-')
			}
		}
	}
}

func writeGuard(sid int, sign byte) error {
	var buf [24]byte
	line := strconv.AppendInt(append(buf[:0], sign), int64(sid), 10)
	// A guard that was stopped must not stop us.
	_ = guard.pipe.SetWriteDeadline(time.Now().Add(time.Second))
	_, err := guard.pipe.Write(append(line, '\n'))
	return err
}

// startGuard starts a guard and tells it all that is registered. Should the one
// before have died, its end is collected first.
func startGuard() {
	if guard.pipe != nil {
		_ = guard.pipe.Close()
		_ = guard.cmd.Process.Kill()
		_ = guard.cmd.Wait()
		guard.pipe = nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return // tried again with the next child
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path:        "/bin/sh",
		Args:        []string{"sandbox-agent-guard", "-c", guardScript},
		Dir:         "/",
		Env:         []string{},
		Stdin:       r,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		guard.absent = errors.Is(err, fs.ErrNotExist)
		return
	}
	guard.cmd, guard.pipe = cmd, w
	for sid, sign := range guard.sessions {
		if writeGuard(sid, sign) != nil {
			return
		}
	}
}
