"""Requests out, completions in: an event loop in a thread of its own, and the hand-over to the thread that consumes.

Both sides hand over in batches, so that a request costs little besides its HTTP. The consumer's side is `fill` and
`take`; everything else runs on the loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mixdistill.backends.chat import LONGEST, RETRIED, TOO_MUCH, Chat, Fault, names
from mixdistill.backends.limits import Bucket, Lengths, Pace, back_off
from mixdistill.errors import StageError, did_you_mean
from mixdistill.types import Completion, Request, prompt_text

IN_A_ROW = 20
"""Final failures of one kind without a success between them after which nothing more is sent."""
UNREACHABLE_TRIES = 4
"""Tries of a server of which nothing ever came: a wrong address should not take minutes to show."""
AGAIN = 16
"""Completions given to the consumer between two looks at what there is to send."""
CONNECT_SECONDS = 30.0
KEEP_SECONDS = 4.0
"""Idle connections are kept less long than servers keep them (uvicorn, and so vLLM: 5 s): no request meets an end."""


@dataclass(frozen=True)
class Terms:
    """Where requests go and how long they may take."""

    url: str
    """Of chat completions, query included."""
    completions_url: str
    """Of text completions."""
    models_url: str
    other_models_url: str
    """The list of models where it would be had base_url ended in /v1; empty where it does."""
    where: str
    """The server as errors name it."""
    key_env: str
    has_key: bool
    headers: dict[str, str]
    proxy: str | None
    concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout: float
    deadline: float
    max_retries: int


@dataclass(slots=True, eq=False)
class _Job:
    position: int
    request: Request
    tries: int = 0
    began: float = 0.0
    """When it was first sent."""
    sent: float = 0.0
    """When it was last sent."""
    reserved: float = 0.0
    """Tokens taken from the bucket for its last try."""
    field: str = ""
    """What its last try called the token limit."""


class Wire:
    """One stream of requests to one server. `close` abandons whatever is under way, and joins the thread."""

    def __init__(self, terms: Terms, chat: Chat, notice: Callable[[Request, Completion], object]) -> None:
        """`notice` is told every success, on the loop's thread."""
        self.terms, self.chat, self.notice = terms, chat, notice
        self.held, self.drawn, self._ended, self._dry = 0, 0, False, False
        self._news = threading.Condition()
        self._answers: list[tuple[int, Completion]] = []
        self._error: BaseException | None = None
        self._hungry = False
        self.pace = Pace(terms.concurrency)
        self._requests = Bucket(terms.requests_per_minute) if terms.requests_per_minute else None
        self._tokens = Bucket(terms.tokens_per_minute, 6.0) if terms.tokens_per_minute else None
        self._lengths, self._rng = Lengths(), random.Random()
        self._waiting: deque[_Job] = deque()
        self._backing, self._flying = 0, set[asyncio.Task[None]]()
        self._fresh: list[tuple[int, Completion]] = []
        self._paused_until, self._alarm = 0.0, 0.0
        self._succeeded, self._row, self._row_of = 0, 0, ""
        self._fatal: BaseException | None = None
        self._session: Any = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._room = self._room_now(0.0)
        self._thread = threading.Thread(target=self._main, name="openai", daemon=True)
        self._thread.start()

    # -- the consumer's side -------------------------------------------------------------------------------------------

    def answers(self, requests: Iterator[Request | None]) -> Iterator[tuple[int, Completion]]:
        """Draw while there is room, give what arrives, until nothing is left. Raises what every request would meet."""
        self._fill(requests)
        while self.held or not self._ended:
            arrived = self._take()
            for start in range(0, len(arrived), AGAIN):
                for answer in arrived[start : start + AGAIN]:
                    self.held -= 1
                    yield answer
                self._fill(requests)
            if not arrived:
                self._fill(requests)

    def _fill(self, requests: Iterator[Request | None]) -> None:
        batch: list[_Job] = []
        self._dry = self._ended
        while not self._dry and self.held < self._room:
            try:
                request = next(requests)
            except StopIteration:
                self._ended = self._dry = True
                break
            if request is None:
                self._dry = True
                if not self.held:
                    raise RuntimeError("None was drawn of the requests while nothing was unanswered")
                break
            batch.append(_Job(self.drawn, request))
            self.drawn += 1
            self.held += 1
        if batch:
            with suppress(RuntimeError):  # the loop ended by an error, which `_take` raises
                self._loop.call_soon_threadsafe(self._given, batch)

    def _take(self) -> list[tuple[int, Completion]]:
        """What has arrived, at least one; or nothing, where there is room for more."""
        with self._news:
            while not (self._answers or self._error or (self._hungry and not self._dry)):
                self._news.wait()
            arrived, self._answers, self._hungry = self._answers, [], False
        if self._error and not arrived:
            raise self._error
        return arrived

    def close(self) -> None:
        """Abandon everything."""
        with suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # -- the loop's side: sending --------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as e:
            self._fatal = self._fatal or e
        finally:
            self._flush(over=True)
            self._loop.close()

    async def _serve(self) -> None:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=KEEP_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector,
            headers=self.terms.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=self.terms.proxy,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        ) as self._session:
            self._pump()
            await self._stop.wait()
            self._fatal = self._fatal or RuntimeError("closed")
            for task in self._flying:
                task.cancel()
            await asyncio.gather(*self._flying, return_exceptions=True)

    def _given(self, batch: Iterable[_Job]) -> None:
        self._waiting.extend(batch)
        self._pump()

    def _pump(self) -> None:
        """Send what may be sent now. Called from wherever that may have changed; an error of ours ends the stream."""
        try:
            self._send_on()
        except Exception as e:
            self._end(e, at_once=True)

    def _send_on(self) -> None:
        now = self._loop.time()
        self.pace.quiet(now)
        while self._waiting and not self._fatal and self._session:
            if len(self._flying) >= self.pace.limit:
                self.pace.bound = True
                self._call_later(now, 1.0)
                break
            if (wait := self._wait(now, self._waiting[0])) > 0:
                self._call_later(now, wait)
                break
            self._send(self._waiting.popleft(), now)
        self._room = self._room_now(now)
        idle = not (self._waiting or self._fresh or self._answers or self._hungry or self._fatal)
        if idle and len(self._flying) + self._backing < self._room:
            self._flush(hungry=True)

    def _room_now(self, now: float) -> int:
        """How many requests may be held here: what may be in flight and a few to follow at once; what waits for
        another try besides. While nothing may be sent, no more."""
        if self._fatal or (self._waiting and self._wait(now, self._waiting[0]) > 0):
            return 0
        limit = self.pace.limit
        return limit + limit // 4 + min(self._backing, limit)

    def _wait(self, now: float, job: _Job) -> float:
        """Seconds until this request may be sent, as far as the server's and the user's limits go."""
        wait = self._paused_until - now
        if self._requests:
            wait = max(wait, self._requests.wait(now, 1))
        if self._tokens:
            wait = max(wait, self._tokens.wait(now, self._estimate(job.request)))
        return wait

    def _estimate(self, request: Request) -> float:
        return self._lengths.estimate(len(prompt_text(request.prompt)), request.sampling.max_tokens)

    def _call_later(self, now: float, seconds: float) -> None:
        """Look again then, unless that is arranged already."""
        if not now < self._alarm <= now + seconds:
            self._alarm = now + seconds
            self._loop.call_at(self._alarm, self._pump)

    def _send(self, job: _Job, now: float) -> None:
        if self._requests:
            self._requests.take(now, 1)
        if self._tokens:
            job.reserved = self._estimate(job.request)
            self._tokens.take(now, job.reserved)
        job.sent, job.field = now, self.chat.limit_field
        job.began = job.began or now
        job.tries += 1
        self._flying.add(self._loop.create_task(self._ask(job)))

    async def _ask(self, job: _Job) -> None:
        """One try of one request."""
        task = asyncio.current_task()
        assert task
        try:
            outcome = await self._post(job)
            if isinstance(outcome, Completion):
                self._success(job, outcome)
            else:
                await self._failure(job, outcome)
        except Exception as e:  # ours
            self._end(e, at_once=True)
        finally:
            self._flying.discard(task)
            if self._fatal and not self._flying:
                self._stop.set()
            self._pump()

    async def _post(self, job: _Job) -> Completion | Fault:
        import aiohttp

        request, terms = job.request, self.terms
        url = terms.completions_url if self.chat.by_tokens(request) else terms.url
        left = job.began + terms.deadline - job.sent
        too_late = Fault("late", f"no answer in {self.terms.deadline:g} s, the deadline")
        if left <= 0:
            return too_late._replace(kind="server")  # it waited here, not at the server
        try:
            async with (
                asyncio.timeout(min(left, self.terms.timeout)),
                self._session.post(url, data=self.chat.body(request), allow_redirects=False) as reply,
            ):
                raw, seconds = await reply.read(), self._loop.time() - job.sent
                return self.chat.read(reply.status, reply.headers, raw, seconds, begun=request.begun)
        except aiohttp.ConnectionTimeoutError:
            return Fault("unreachable", f"no connection in {CONNECT_SECONDS:g} s")
        except aiohttp.ClientConnectorError as e:
            return Fault("unreachable", self.chat.say(_why(e)))
        except TimeoutError:
            return Fault("late", f"no answer in {self.terms.timeout:g} s") if left > self.terms.timeout else too_late
        except (aiohttp.ClientError, OSError) as e:
            return Fault("lost", self.chat.say(f"the connection was lost ({type(e).__name__}: {e})"))

    # -- the loop's side: what comes back ------------------------------------------------------------------------------

    def _success(self, job: _Job, completion: Completion) -> None:
        tokens = completion.usage.completion_tokens
        if tokens is not None:
            self._lengths.add(tokens)
        if self._tokens and tokens is not None:
            self._tokens.put(job.reserved - tokens - (completion.usage.prompt_tokens or 0))
        self.pace.done(self._loop.time(), job.sent, tokens or 1)
        self._succeeded += 1
        self._row = 0
        self.notice(job.request, completion)
        self._answer(job, completion)

    async def _failure(self, job: _Job, fault: Fault) -> None:
        now = self._loop.time()
        if self._tokens:
            self._tokens.put(job.reserved)
        if fault.kind in TOO_MUCH:
            self.pace.trouble(now, job.sent)
        if fault.wait and fault.kind in RETRIED:
            self._paused_until = max(self._paused_until, now + fault.wait)
        if fault.kind == "field" and job.field == "max_tokens":
            self.chat.limit_field = "max_completion_tokens"
            job.tries -= 1
            self._waiting.appendleft(job)
        elif self._fatal:
            pass
        elif line := await self._meets_all(fault):
            self._end(StageError(line), at_once=not self._succeeded)
        elif not self._retry(job, fault, now):
            self._final(job, fault, now)

    async def _meets_all(self, fault: Fault) -> str | None:
        """The line about a fault that every request will meet; None of another."""
        where, said = self.terms.where, fault.text
        if fault.kind == "key" and self.terms.has_key:
            return f"{where}: the key in {self.terms.key_env} was refused ({said}); export the right one"
        if fault.kind == "key":
            return f"{where}: the server wants a key ({said}); export {self.terms.key_env}=..., or set api_key_env"
        if fault.kind == "credit":
            return f"{where}: there is no credit left ({said}); pay in, and run again to go on"
        if fault.wait and fault.wait > self.terms.deadline:
            asked = f"the server asks to come back in {fault.wait:,.0f} s, more than deadline={self.terms.deadline:g}"
            return f"{where}: {asked} ({said}); run again then, or raise deadline"
        if self._succeeded:
            return None
        if fault.kind == "model":
            hint = did_you_mean(self.chat.model, names(await self._get(self.terms.models_url)))
            return f"{where}: no model '{self.chat.model}' there ({said}){hint if len(hint) <= LONGEST else ''}"
        if fault.kind == "missing":
            other = self.terms.other_models_url
            there = other and names(await self._get(other))
            hint = f"did you mean base_url: {other.removesuffix('/models')}?" if there else "check base_url"
            return f"{where}: no chat completions there ({said}); {hint}"
        return None

    async def _get(self, url: str) -> bytes:
        """A page of the server's; empty where it gives none soon."""
        try:
            async with asyncio.timeout(10), self._session.get(url) as reply:
                return await reply.read()
        except Exception:  # only a hint is lost
            return b""

    def _retry(self, job: _Job, fault: Fault, now: float) -> bool:
        """Whether another try was arranged."""
        most = self.terms.max_retries
        if fault.kind == "unreachable" and not self._succeeded:
            most = min(most, UNREACHABLE_TRIES)
        again = fault.kind in RETRIED or (fault.kind in ("missing", "model") and self._succeeded)
        pause = (fault.wait or 0.0) + back_off(job.tries, self._rng)
        if not again or job.tries > most or now + pause >= job.began + self.terms.deadline:
            return False
        self._backing += 1
        self._loop.call_later(pause, self._again, job)
        return True

    def _again(self, job: _Job) -> None:
        self._backing -= 1
        self._waiting.appendleft(job)
        self._pump()

    def _final(self, job: _Job, fault: Fault, now: float) -> None:
        """A request failed for good: a row, unless every other would fail too."""
        where = self.terms.where
        if not self._succeeded and fault.kind == "unreachable":
            line = f"{where}: cannot be reached ({fault.text}); start the server, or mend base_url"
            return self._end(StageError(line), at_once=True)
        if not self._succeeded and fault.kind == "senseless":
            line = f"{where}: does not answer as chat completions do ({fault.text}); check base_url"
            return self._end(StageError(line), at_once=True)
        tries = f" ({job.tries} tries)" if job.tries > 1 else ""
        self._answer(job, Completion(error=fault.text + tries, seconds=now - job.began))
        kind = f"{fault.kind} {fault.text[:10]}"
        self._row = self._row + 1 if kind == self._row_of else 1
        self._row_of = kind
        if self._row >= IN_A_ROW and not (fault.kind == "long" and self._succeeded):
            line = (
                f"{where}: {self._row} requests in a row failed alike ({fault.text}); mend that, and run again to go on"
            )
            # A server that does not answer is not waited for once more.
            self._end(StageError(line), at_once=not self._succeeded or fault.kind == "late")

    def _answer(self, job: _Job, completion: Completion) -> None:
        """Keep it until the loop has been through what else arrived: one hand-over for all."""
        if not self._fresh:
            self._loop.call_soon(self._flush)
        self._fresh.append((job.position, completion))

    def _end(self, error: BaseException, *, at_once: bool) -> None:
        """Nothing more is sent. What is in flight is waited for where it was paid: where anything ever succeeded."""
        self._fatal = self._fatal or error
        self._waiting.clear()
        if at_once:
            self._stop.set()

    def _flush(self, *, hungry: bool = False, over: bool = False) -> None:
        with self._news:
            self._answers += self._fresh
            self._fresh = []
            self._hungry = self._hungry or hungry
            if over:
                self._error = self._fatal
            self._news.notify()


def _why(error: Exception) -> str:
    """Why there is no connection, without the address, which the line has already."""
    text = getattr(error, "strerror", None) or str(error)
    return os.strerror(error.errno or 0) if isinstance(error, OSError) and text.startswith("Connect call") else text
