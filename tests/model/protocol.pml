/* SPDX-License-Identifier: MIT
 *
 * docs/protocol.md as a model for Spin: callers of `ensure` and of `stop`, the kernel under them
 * (world.pml), and all that may go wrong, in every order.  test_model.py runs it; by hand:
 *
 *     spin -DAGED=1 -DNO_GATE=1 -a protocol.pml && cc -O1 -DSAFETY -o pan pan.c && ./pan -m100000
 *     spin -DAGED=1 -DNO_GATE=1 -t -p -g protocol.pml          the way to an error, step by step
 *
 * A step of a caller is a system call, or a few of which no other process can see the single ones.
 * Between any two steps it may be killed (the kernel then drops its guard, its flocks and its end
 * of the gate), stopped for ever, or overtaken by any number of steps of others: that is what a
 * process that is stopped and continued looks like.  The comment at a step names the file and the
 * function that take it; those with a number or a letter are the steps of docs/protocol.md.
 *
 * Configuration, each -DNAME=value:
 *     LAUNCHERS  callers of `ensure`             TRIES    times that each takes the lock at most
 *     STOPPERS   callers of `stop`               RETRIES  starts again on another port, in all
 *     CRASHES    SIGKILLs of callers             FREEZES  SIGSTOPs of callers, for ever
 *     DEATHS     servers that die by themselves  FLIPS    times that a server's health changes
 *     LATE       waits for the guard that give up though nobody is stopped for ever
 *     AGED       1: the deadline of any holder may pass; 0: only that of one that is stopped
 *     HEIRS      1: a fork of a killed caller may go on holding its flock
 *     DISK_FULL  1: the mark `ending` is never written
 *     FAULTS     1: who rejects a start may have no descriptor left
 *     OLD        1: at first an unhealthy server runs, and is recorded
 *     REUSE      1: a bystander may get the pid of whoever is gone
 *     LIVE       1: the claim that all survivors end, for weak fairness
 *
 * Asserted: the flags in world.pml, each by its name, and that no end leaves a caller waiting.
 *
 * Breakages, each one defence of the code left out: the names that begin with NO_, and others where
 * `#ifdef` says so.  The test knows which property each of them breaks, and in which configuration.
 *
 * Not modelled: sessions of servers, versions, servers started by hand, `sweep`, another pid
 * namespace, other system calls that fail, and an edited state directory. */

#include "world.pml"

#define OK 0
#define LOST 1       /* LockLost */
#define TIMED_OUT 2  /* LockTimeout */
#define NOT_READY 3  /* NeverHealthy, StartTimeout, PortInUse, an interrupt */

/* --------------------------------------------------------------------------- ending a server */

/* process/handle.py signal: through a descriptor that was proven to be that process */
inline signal(start, deadly) {
  atomic {
#ifdef BY_NUMBER
    n = who[number[start - 1]];
    must_not(n == STRANGER, hit_stranger);
#else
    n = (LIVES(start) -> start : 0);
#endif
    if
    :: n != 0 ->
       must_not(outdated[i] == n, killed_adopted);
       must_not(!DISK_FULL && rec == n && state == running, dying_published);
       signalled[n - 1] = 1;
       if :: doomed[n - 1] = 1 :: !deadly fi /* SIGTERM can be ignored */
    :: else
    fi;
    n = 0 }
}

inline fenced_signal(start, deadly) {
#ifdef NO_FENCE
  signal(start, deadly)
#else
  FENCE(start, break);
  signal(start, deadly);
  leave()
#endif
}

/* server/terminate.py end_server; to be followed by CATCH */
inline end_server(start) {
  do
  :: !LIVES(start) -> break
  :: LIVES(start) ->
#ifndef NO_MARK
     /* A mark: server/terminate.py _announce */
     FENCE(start, break);
     atomic { /* an error is swallowed: it must not keep anyone from ending a server */
       if :: DISK_FULL :: !DISK_FULL -> write_record(start, 1, ending) fi };
     leave();
#endif
     /* B signal: server/terminate.py _end, server/terminate.py _fenced_sender */
     fenced_signal(start, false);
     /* C confirm: process/handle.py wait */
#ifndef NO_CONFIRM
     if
     :: !LIVES(start)
     :: LIVES(start) && !doomed[start - 1] -> /* the grace is over */
        fenced_signal(start, true);
        !LIVES(start)
     fi;
#endif
     break
  od
}

/* ---------------------------------------------------------------------------------- a caller */

#ifdef ADOPT_GATED
#define IS_UP(n) (READY(n) || proc[(n) - 1] == gated)
#else
#define IS_UP(n) READY(n) /* server/spawn.py has_execed */
#endif

inline publish(start) {
  atomic {
    must_not(proc[start - 1] == gated, unstarted_published);
    must_not(!DISK_FULL && signalled[start - 1], dying_published);
    write_record(start, 1, running);
    if :: path == fd[i] -> TELL_HOLDERS(start) :: else fi }
}

/* The child may be dead by now: the byte is lost with it. */
inline open_gate() { atomic { if :: proc[s] == gated -> byte_sent[s] = 1 :: else fi } }

inline unlock() { if :: life[fd[i]] == i + 1 -> life[fd[i]] = 0 :: else fi }
/* csrc/lock.c pp_lock_drop */
inline drop() { atomic { unlock(); fd[i] = 0; outdated[i] = 0 } }

/* server/record.py read: the file is replaced whole, so one read sees one record */
inline read_record() { atomic { r = rec; r_named = named; r_state = state } }

/* server/locked.py _comes_up */
#ifdef NO_SEEN
#define SEEN false
#else
#define SEEN (r_state == running && rec == r)
#endif
#define COMES_UP (!stops && state == running && named && LIVES(rec) && !SEEN)

/* Ends a sleep in line that the kernel does not: lock/spawn_lock.py _is_held once a second, and the
 * deadline of the holder.  Left out where nobody is stopped, for there the kernel must do. */
#ifdef NO_LOOK_AROUND
#define LOOKS_AROUND false
#elif AGED || FREEZES || HEIRS
#define LOOKS_AROUND (path == 0 || IS_DEAD(path) || MAY_BE_AGED(path))
#else
#define LOOKS_AROUND false
#endif

inline forget() {
  r = 0; r_named = 0; r_state = none; s = 0; out = OK; why = OK; n = 0; tries = 0
}

proctype caller(byte i; bool stops) {
  byte r, s, n, out, why, tries; bool r_named; mtype r_state = none;
  {
    if :: stops -> goto arrive :: else fi;

fast_path: /* 1 fast path: server/ensure.py ensure, server/ensure.py _is_reusable */
    read_record();
    if
    :: r != 0 && r_state == running && r_named && READY(r) -> goto done
    :: else -> if :: tries == TRIES -> goto done :: else fi
    fi;

arrive: /* lock/spawn_lock.py _is_waited_for: as they like, for a try without waiting does not ask */
    if :: turn != 0 && turn != i + 1 -> goto in_line :: true fi;

acquire: /* 2 acquire: csrc/lock.c pp_lock_try, csrc/lock.c take_over */
    if :: atomic { GUARD } :: atomic { STUCK -> out = TIMED_OUT; goto left } fi;
    if /* csrc/lock.c judge */
    :: path == 0
#ifndef NO_IDENTITY
    :: path != 0 && IS_DEAD(path) -> path = 0
#endif
#ifndef NO_LIFE
    :: path != 0 && life[path] == 0 -> path = 0
#endif
    :: path != 0 && MAY_BE_AGED(path) -> path = 0
    :: path != 0 && !IS_DEAD(path) && life[path] != 0 && !IS_STOPPED(path) -> leave(); goto in_line
    fi;

create: /* csrc/lock.c create_flocked: O_EXCL, then its flock, which one in line may have got */
    atomic {
#ifdef NO_GUARD
      if :: path == 0 :: else -> goto acquire fi;
#endif
      n = 1;
      do :: n == path || IS_OPEN(n) || life[n] == HEIR -> n++ :: else -> break od;
      path = n; fd[i] = n; n = 0; content[path] = 0; life[path] = 0 };
#ifndef NO_FLOCK_TEST
    if
    :: atomic { life[fd[i]] == 0 -> life[fd[i]] = i + 1 }
    :: atomic { life[fd[i]] != 0 -> path = 0 };
       fd[i] = 0;
       goto create
    fi;
#else
    atomic { if :: life[fd[i]] == 0 -> life[fd[i]] = i + 1 :: else fi };
#endif
    atomic { /* csrc/lock.c create, csrc/lockfile.c lockfile_write: one write */
      content[fd[i]] = i + 1;
      holding[i] = 1; outdated[i] = 0; tries++;
      must_not(!AGED && HOLDERS > 1, two_holders)
    };
    leave();
    atomic { if :: turn == i + 1 -> turn = 0 :: else fi }; /* lock/spawn_lock.py _leave_line */
    goto look_again;

in_line: /* csrc/lock_wait.c wait_in_line */
    if :: COMES_UP -> goto left :: else fi;
    if
    :: atomic { turn == 0 || turn == i + 1 -> turn = i + 1 }
    :: LOOKS_AROUND -> goto awake
    fi;
    fd[i] = path;
    if
    :: fd[i] == 0
    :: atomic { fd[i] != 0 && life[fd[i]] == 0 -> life[fd[i]] = i + 1 }
    :: fd[i] != 0 && LOOKS_AROUND
    fi;
awake: /* csrc/lock_wait.c close_wait */
    atomic { unlock(); fd[i] = 0 };
    if :: COMES_UP -> goto left :: else -> goto acquire fi;

left: /* csrc/lock_wait.c close_turn */
    atomic {
      if :: turn == i + 1 -> turn = 0 :: else fi;
      if :: out == OK -> goto fast_path :: else -> goto done fi };

look_again: /* 3 look again: server/locked.py _decide, server/stop.py stop */
#ifndef NO_SECOND_LOOK
    read_record();
#endif
    if
    :: stops -> goto stopping
    :: !stops && (r == 0 || !r_named || !LIVES(r)) -> goto write_ahead
    :: !stops && r != 0 && r_named && LIVES(r) -> skip
    fi;
    if /* server/locked.py _settle, server/locked.py _keep_if_healthy */
    :: r_state == running && READY(r) -> goto release
    :: r_state == starting && IS_UP(r) -> goto adopt
    :: !LIVES(r) -> goto write_ahead
    :: r_state == ending || !READY(r) -> end_server(r); CATCH(goto release); goto write_ahead
    fi;

adopt: /* server/attempt.py publish */
    FENCE(r, goto release);
    publish(r);
    leave();
    goto release;

write_ahead: /* 4 write ahead: server/plan.py prepare, server/attempt.py write_ahead */
    atomic { s = starts; starts++ };
    FENCE(r, goto reject);
    atomic { write_record(s + 1, 0, starting) };
    leave();
    /* 5 fork: csrc/gate.c pp_gate_fork, server/spawn.py fork */
    atomic {
      n = (REUSE -> 0 : s);
      do :: who[n] != 0 -> n++ :: else -> break od;
      who[n] = s + 1; number[s] = n; n = 0; parent[s] = i + 1;
#ifdef NO_GATE
      proc[s] = runs; up[s] = 1; look_for_strays()
#else
      proc[s] = gated
#endif
    };
#ifdef OPEN_FIRST
    open_gate();
#endif
    /* 6 name: server/attempt.py _name */
    FENCE(s + 1, goto reject);
    atomic { write_record(s + 1, 1, starting) };
    leave();
#ifndef OPEN_FIRST
    /* 7 open: server/attempt.py open_gate, csrc/gate.c pp_gate_open */
    FENCE(s + 1, goto reject);
    open_gate();
    leave();
#endif
    /* 8 ready: server/attempt.py until_ready, server/health.py wait_ready */
    if
    :: READY(s + 1)
    :: out = NOT_READY; goto reject /* it died, its time is over, or an interrupt */
    fi;
    /* 9 publish: server/attempt.py publish */
#ifdef NO_WRITE_FENCE
    publish(s + 1);
#else
    FENCE(s + 1, goto reject);
    publish(s + 1);
    leave();
#endif
    goto release;

reject: /* 10 reject: server/attempt.py reject, server/spawn.py close_gate */
    atomic { why = out; out = OK; parent[s] = 0 };
    if /* server/attempt.py _end_child */
    :: proc[s] != unborn -> end_server(s + 1); CATCH(goto hindered)
    :: proc[s] == unborn
    :: FAULTS && proc[s] != unborn -> goto blind
    fi;
    FENCE(0, goto hindered);
    atomic { if :: rec == s + 1 -> write_record(s + 1, 0, failed) :: else fi };
    leave();
    goto rejected;
blind: /* server/attempt.py reject, lock/spawn_lock.py is_overdue: nothing can be looked at */
    atomic {
      if
#ifdef KILL_BLIND
      :: signal(s + 1, true)
#else
      :: path == fd[i] -> signal(s + 1, true) /* the clock tells so much */
#endif
      :: goto rejected
      fi };
    !LIVES(s + 1);
    goto rejected;
hindered: /* server/attempt.py _is_recorded, server/spawn.py kill */
    if
#ifdef KILL_LOST
    :: out == LOST && proc[s] != unborn ->
#else
    :: out == LOST && proc[s] != unborn && rec != s + 1 ->
#endif
       signal(s + 1, true);
       !LIVES(s + 1) /* server/spawn.py reap */
    :: else
    fi;
rejected:
    out = why; why = OK;
    if /* server/start.py start: another port */
    :: atomic { out == NOT_READY && retries > 0 -> retries--; out = OK };
       read_record();
#ifndef RETRY_ANYWAY
       if :: r_state == failed :: else -> goto release fi;
#endif
       goto write_ahead
    :: skip
    fi;
    goto release;

stopping: /* server/stop.py _end */
    if
    :: r != 0 && r_named && LIVES(r) -> end_server(r); CATCH(goto release)
    :: r == 0 || !r_named || !LIVES(r)
    fi;
    FENCE(r, goto release); /* server/stop.py _drop, server/stop.py _keep */
    if
    :: atomic { write_record(0, 0, none) }
    :: atomic { r != 0 -> write_record(r, 0, stopped) }
    fi;
    leave();

release: /* 11 release: lock/spawn_lock.py release, csrc/lock.c pp_lock_release */
#ifdef NO_RELEASE
    if :: out != OK -> goto done :: else fi;
#endif
    holding[i] = 0;
    if
    :: atomic { GUARD };
       atomic { unlock() };
       if :: MINE -> path = 0 :: else fi;
       leave();
       atomic { fd[i] = 0; outdated[i] = 0 }
    :: atomic { STUCK -> skip };
       drop()
    fi;
    /* server/locked.py ensure_locked: whose lock was taken over looks again */
    if :: out == LOST && !stops -> out = OK; goto fast_path :: else fi;

done:
    atomic { forget(); finished[i] = 1 }
  } unless { atomic { !alive[i] || frozen[i] -> forget() } }
}

#define ENDED(x) (finished[x] || !alive[x] || frozen[x])
#ifdef LIVE
ltl all_end { <> [] (ENDED(0) && ENDED(1) && ENDED(2)) }
#endif

init {
  byte x;
  atomic {
#if OLD
    proc[0] = runs; who[0] = 1; rec = 1; named = 1; state = running;
#else
    proc[0] = dead;
#endif
    /* Or fewer: a failure that must come in the end would free whoever waits in vain. */
    select(crashes : 0 .. CRASHES); select(freezes : 0 .. FREEZES);
    select(deaths : 0 .. DEATHS); select(flips : 0 .. FLIPS);
    for (x : 0 .. LAUNCHERS + STOPPERS - 1) { alive[x] = 1; run caller(x, x >= LAUNCHERS) };
    run world();
    x = 0
  }
}
