"""Startup probes. Only `exec` is known; a probe of another kind counts as met."""

import asyncio


async def passes(probe, handle):
    if "exec" not in probe:
        return True
    process = await handle.exec(probe["exec"]["command"], False)
    try:
        await asyncio.wait_for(process.communicate(), probe.get("timeoutSeconds", 1))
    except TimeoutError:
        process.kill()
        return False
    return process.returncode == 0


async def started(probe, handle):
    """Whether the probe held before it had failed too often."""
    if not probe:
        return True
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    for _ in range(probe.get("failureThreshold", 3)):
        if await passes(probe, handle):
            return True
        await asyncio.sleep(probe.get("periodSeconds", 10))
    return False
