/* SPDX-License-Identifier: MIT
 *
 * The world of protocol.pml: what callers share, the guard, and what happens by itself. */

#ifndef LAUNCHERS
#define LAUNCHERS 2
#endif
#ifndef STOPPERS
#define STOPPERS 0
#endif
#ifndef TRIES
#define TRIES 1
#endif
#ifndef RETRIES
#define RETRIES 0
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef FREEZES
#define FREEZES 0
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef FLIPS
#define FLIPS 1
#endif
#ifndef LATE
#define LATE 0
#endif
#ifndef AGED
#define AGED 0
#endif
#ifndef HEIRS
#define HEIRS 0
#endif
#ifndef DISK_FULL
#define DISK_FULL 0
#endif
#ifndef FAULTS
#define FAULTS 0
#endif
#ifndef OLD
#define OLD 0
#endif
#ifndef REUSE
#define REUSE 0
#endif

/* Room for all configurations, so that a step has the same number in each. */
#define CALLERS 3
#define STARTS 4
#if LAUNCHERS + STOPPERS > CALLERS || LAUNCHERS * TRIES + RETRIES > STARTS
#error more callers or starts than there is room for
#endif
#define INODES (CALLERS + CRASHES * HEIRS)
#define HEIR 88     /* in place of a caller: what it forked and left behind */
#define STRANGER 99 /* in place of a start: a process that has nothing to do with us */

/* What is asserted: `must_not(bad, flag)` fails at the flag, so that pan names it. */
hidden byte two_servers = 0;        /* never do two servers run */
hidden byte orphan = 0;             /* never does one run that the record does not name */
hidden byte killed_adopted = 0;     /* never is one signalled that a later holder has published */
hidden byte hit_stranger = 0;       /* never is a process signalled that is no server of ours */
hidden byte dying_published = 0;    /* never is the record `running` of one that was signalled */
hidden byte unstarted_published = 0;/* ... or of one that waits at its gate */
hidden byte two_holders = 0;        /* never do two hold the lock, unless a deadline has passed */

inline must_not(bad, flag) { if :: bad -> assert(flag) :: else fi }

/* -------------------------------------------------------------------------------- the objects */

byte guard;                /* whose flock is on the directory: caller + 1 */
byte turn;                 /* whose flock is on the queue: caller + 1 */
byte path;                 /* the inode of the lock file, 0: there is none */
byte life[INODES + 1];     /* by inode: whose flock is on it: caller + 1, or HEIR */
byte content[INODES + 1];  /* by inode: whom it names: caller + 1, 0: half-written */
byte fd[CALLERS];          /* by caller: the inode that it has open, to hold or to wait for */

byte rec;                  /* the record: which start it tells of (its nonce), 0: no record */
bool named;                /* whether it has the identity of the process */
mtype = { none, starting, running, ending, failed, stopped };
mtype state = none;

mtype = { unborn, gated, runs, dead };
mtype proc[STARTS + 1] = unborn; /* by start; 0 is the server that was there before */
byte parent[STARTS + 1];   /* whose end of the gate is open: caller + 1 */
bool byte_sent[STARTS + 1];
bool up[STARTS + 1];       /* whether its probe is answered */
bool signalled[STARTS + 1];
bool doomed[STARTS + 1];   /* a signal that it does not survive is on its way */
byte number[STARTS + 1];   /* its pid */
byte who[STARTS + 1];      /* by pid: start + 1, or STRANGER */

bool alive[CALLERS]; bool frozen[CALLERS]; bool finished[CALLERS];
bool holding[CALLERS];     /* who takes himself for the holder */
byte outdated[CALLERS];    /* ... though another has published since: which start */
byte starts = 1;
byte crashes; byte freezes; byte deaths; byte flips; /* how many more of each there may be */
byte late = LATE; byte retries = RETRIES;

#define RUNS(x) (proc[x] == runs)
#define LIVES(n) (RUNS((n) - 1) || proc[(n) - 1] == gated)
#define READY(n) (RUNS((n) - 1) && up[(n) - 1])
#define STRAY(x) (RUNS(x) && !(rec == (x) + 1 && named))
#define EACH(f, op) f(0) op f(1) op f(2) op f(3) op f(4)
#define HOLDERS (holding[0] + holding[1] + holding[2])
#define IS_OPEN(f) (fd[0] == f || fd[1] == f || fd[2] == f)
#define TELL_HOLDERS(start) tell(0, start); tell(1, start); tell(2, start)

inline tell(x, start) { outdated[x] = (x != i && holding[x] -> start : outdated[x]) }

/* Looked at wherever a server begins to run, and wherever the record changes. */
inline look_for_strays() {
  must_not((EACH(RUNS, +)) > 1, two_servers);
  must_not((EACH(STRAY, ||)), orphan)
}

inline write_record(start, with_identity, what) {
  rec = start; named = with_identity; state = what;
  look_for_strays()
}

inline die(x) {
  proc[x] = dead; who[number[x]] = 0; parent[x] = 0; byte_sent[x] = 0; up[x] = 0; doomed[x] = 0;
  signalled[x] = 0
}

/* --------------------------------------------------------------------- the lock and the guard */

#define IS_STOPPED(f) (content[f] != 0 && frozen[content[f] - 1])
#if AGED
#define MAY_BE_AGED(f) (content[f] != 0)
#else
/* Of who is stopped but in time nothing is lost: he could as well be slow. */
#define MAY_BE_AGED(f) IS_STOPPED(f)
#endif
#define IS_DEAD(f) (content[f] != 0 && !alive[content[f] - 1])

#ifdef NO_GUARD
#define GUARD true
#define STUCK false
#define leave() skip
#else
#define GUARD guard == 0 -> guard = i + 1
#define STUCK \
  guard != 0 && (frozen[guard - 1] || late > 0) -> late = (frozen[guard - 1] -> late : late - 1)
#define leave() guard = 0 /* csrc/guard.c pp_guard_leave */
#endif

#ifdef NO_NONCE
#define MINE (path != 0)
#else
#define MINE (path != 0 && path == fd[i]) /* csrc/lock.c pp_lock_mine: its content is as unique */
#endif

/* lock/spawn_lock.py fenced, server/fence.py fenced: in the guard, the lock ours and the record
 * still of that start (0: of any), or else the other way out.  What is looked at changes in the
 * guard only, so entering it and looking is one step. */
#define FENCE(start, otherwise) \
  if \
  :: atomic { GUARD; \
       if :: MINE && (start == 0 || rec == start) :: else -> leave(); out = LOST; otherwise fi } \
  :: atomic { STUCK -> out = TIMED_OUT; otherwise } \
  fi
#define CATCH(otherwise) if :: out != OK -> otherwise :: else fi

/* --------------------------------------------------------------------- what happens by itself */

#define KILL(x) \
  :: atomic { crashes > 0 && alive[x] && !frozen[x] && !finished[x] -> \
       crashes--; alive[x] = 0; holding[x] = 0; outdated[x] = 0; \
       if :: guard == x + 1 -> guard = 0 :: else fi; \
       if :: turn == x + 1 -> turn = 0 :: else fi; \
       if \
       :: life[fd[x]] == x + 1 -> life[fd[x]] = 0 \
       :: HEIRS && life[fd[x]] == x + 1 && content[fd[x]] == x + 1 -> life[fd[x]] = HEIR \
       :: else \
       fi; \
       fd[x] = 0 }
#define FREEZE(x) \
  :: atomic { freezes > 0 && alive[x] && !frozen[x] && !finished[x] -> \
       freezes--; frozen[x] = 1; holding[x] = 0; outdated[x] = 0 }
#define GATE_IS_SHUT(x) (parent[x] == 0 || !alive[parent[x] - 1])
/* csrc/gate.c wait_at_gate: the byte counts though who sent it is dead */
#define PROCESS(x) \
  :: atomic { proc[x] == gated && byte_sent[x] -> byte_sent[x] = 0; parent[x] = 0; proc[x] = runs; \
       if :: up[x] = 1 :: up[x] = 0 fi; look_for_strays() } \
  :: atomic { proc[x] == gated && !byte_sent[x] && GATE_IS_SHUT(x) -> die(x) } \
  :: atomic { doomed[x] -> die(x) } \
  :: atomic { LIVES(x + 1) && deaths > 0 -> deaths--; die(x) } \
  :: atomic { RUNS(x) && flips > 0 -> flips--; up[x] = !up[x] }

proctype world() {
end:
  do
  KILL(0) KILL(1) KILL(2)
  FREEZE(0) FREEZE(1) FREEZE(2)
  PROCESS(0) PROCESS(1) PROCESS(2) PROCESS(3) PROCESS(4)
#if REUSE
  :: atomic { who[0] == 0 -> who[0] = STRANGER }
  :: atomic { who[0] == STRANGER -> who[0] = 0 }
#endif
  od
}
