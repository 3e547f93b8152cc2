/* SPDX-License-Identifier: MIT
 * The call that signals one program of one process: macOS 14.2, so it is looked for by name.  A
 * direct reference would keep the module from loading on what is older. */
#ifndef PP_AUDIT_DARWIN_H
#define PP_AUDIT_DARWIN_H

#include <dlfcn.h>
#include <mach/message.h> /* audit_token_t */
#include <string.h>

typedef int audit_signal_fn(audit_token_t *token, int signal_number);

/* The call, or NULL.  It returns 0 or a positive errno, and leaves errno alone. */
static inline audit_signal_fn *
audit_signal_call(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, "proc_signal_with_audittoken");
    audit_signal_fn *call = NULL;

    memcpy(&call, &symbol, sizeof(symbol));
    return call;
}

#endif
