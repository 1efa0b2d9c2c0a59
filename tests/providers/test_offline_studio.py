"""The offline voice: real worker processes that speak and listen; every format, whatever files there are, and back again."""

from __future__ import annotations

import asyncio
import io
import os
import random
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from bench.voice import errors, words
from hypothesis import given
from hypothesis import strategies as st

from support.gateway import until
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.types import Headers, Segment, Upload
from switchboard.dialects.openai_speech import FORMATS
from switchboard.net.worker import WorkerPool
from switchboard.providers.offline.studio import jobs
from switchboard.providers.offline.studio.jobs import VOICES, Job, Speak, Transcribe
from switchboard.providers.offline.studio.utterances import utterances

SENTENCE = "The children are playing in the garden behind the house."


class Sink:
    """Notes what a job tells it."""

    def __init__(self) -> None:
        self.status = 0
        self.kind = b""
        self.body = b""
        self.pieces: list[bytes] = []
        self.over = asyncio.Event()
        self.error: UpstreamError | None = None
        self.flow: Flow | None = None

    def on_head(self, status: int, headers: Headers) -> None:
        self.status, self.kind = status, headers[b"content-type"]

    def on_data(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_end(self) -> None:
        self.body = b"".join(self.pieces)
        self.over.set()

    def on_error(self, error: UpstreamError) -> None:
        self.error = error
        self.over.set()


class Voice:
    """A pool with one worker."""

    def __init__(self) -> None:
        self.pool = WorkerPool(jobs.MODULE, size=1)

    def begin(self, job: Job, file: bytes | None = None) -> Sink:
        sink = Sink()
        upload = None if file is None else Upload((b"", Segment(io.BytesIO(b"--" + file + b"--"), 2, len(file))))
        sink.flow = self.pool.send(jobs.encode(job), upload, sink)
        return sink

    async def ask(self, job: Job, file: bytes | None = None) -> Sink:
        """A job's answer, once it is whole."""
        sink = self.begin(job, file)
        async with asyncio.timeout(60):
            await sink.over.wait()
        if sink.error is not None:
            raise sink.error
        return sink

    async def speak(self, text: str = SENTENCE, format_: str = "pcm", **more: Any) -> bytes:
        answer = await self.ask(Speak(text, response_format=format_, **more))
        assert (answer.status, answer.kind) == (200, FORMATS[format_])
        return answer.body

    async def transcribe(self, file: bytes, **more: Any) -> dict[str, Any]:
        answer = await self.ask(Transcribe(**more), file)
        assert (answer.status, answer.kind) == (200, b"application/json"), answer.body
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    async def refusal(self, job: Job, file: bytes | None = None) -> tuple[int, str | None, str]:
        """Status, param and code of a job that is refused."""
        answer = await self.ask(job, file)
        assert answer.kind == b"application/json"
        error = msgspec.json.decode(answer.body)["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
        assert error["type"] == "invalid_request_error"
        return answer.status, error["param"], error["code"]


@asynccontextmanager
async def voice() -> AsyncIterator[Voice]:
    v = Voice()
    try:
        yield v
    finally:
        v.pool.close()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left in the temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    assert not list(folder.iterdir())


def sound_of(file: bytes) -> tuple[np.ndarray[Any, np.dtype[np.int16]], int, str]:
    """The samples of a file as FFmpeg reads them, at its own rate; the rate, and the codec."""
    with av.open(io.BytesIO(file), "r") as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.layout.nb_channels == 1
        to = av.AudioResampler(format="s16", layout="mono")
        frames = [g for f in container.decode(stream) for g in to.resample(f)]
        samples = np.concatenate([f.to_ndarray().reshape(-1) for f in frames]).astype(np.int16)
        return samples, stream.codec_context.sample_rate, stream.codec_context.name


def encoded(pcm: bytes, container: str, codec: str, rate: int = 48_000, layout: str = "stereo") -> bytes:
    """`pcm` (24 kHz, one channel) as another program would record it."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout=layout)
        to = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=stream.frame_size)
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 24_000
        for piece in [*to.resample(frame), *to.resample(None), None]:
            for packet in stream.encode(piece):
                file.mux(packet)
    return out.getvalue()


def peak_of(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1000 for line in status.splitlines() if line.startswith("VmHWM"))


def silence(seconds: float) -> bytes:
    return bytes(2 * round(24_000 * seconds))


# ---- speaking


@pytest.mark.anyio
async def test_every_format_opens() -> None:
    async with voice() as v:
        plain = await v.speak()
        seconds = len(plain) / 2 / 24_000
        assert 2 < seconds < 4
        assert np.abs(np.frombuffer(plain, "<i2").astype(int)).max() > 3000
        for format_, codec in (
            ("mp3", "mp3float"),
            ("opus", "opus"),
            ("aac", "aac"),
            ("flac", "flac"),
            ("wav", "pcm_s16le"),
        ):
            samples, rate, name = sound_of(await v.speak(format_=format_))
            assert (rate, name) == (48_000 if format_ == "opus" else 24_000, codec)
            lossless = format_ in ("flac", "wav")
            assert len(samples) / rate == pytest.approx(seconds, abs=0 if lossless else 0.1), format_


@pytest.mark.anyio
async def test_the_same_text_takes_the_same_time() -> None:
    async with voice() as v:
        for name in VOICES:
            one, other = await v.speak("Hello there.", voice=name), await v.speak("Hello there.", voice=name)
            assert len(one) == len(other) and len(one) % 2 == 0 and len(one) > 24_000


@pytest.mark.anyio
async def test_wav_says_how_long_it_is() -> None:
    async with voice() as v:
        short = await v.speak(format_="wav")
        with wave.open(io.BytesIO(short)) as w:
            assert (w.getframerate(), w.getsampwidth(), w.getnchannels()) == (24_000, 2, 1)
            assert w.getnframes() * 2 + 44 == len(short)
        text = "It goes on and on, and it does not end. " * 20
        long = await v.speak(text, "wav")
        assert len(long) > 1024 * 1024
        with wave.open(io.BytesIO(long)) as w:  # of unknown length
            assert len(w.readframes(w.getnframes())) == len(long) - 44
        samples, rate, _ = sound_of(long)
        assert (len(samples) * 2, rate) == (len(await v.speak(text)), 24_000)


@pytest.mark.anyio
@pytest.mark.parametrize("format_", [f for f in FORMATS if f != "wav"])
async def test_it_is_heard_while_it_is_spoken(format_: str) -> None:
    async with voice() as v:
        sink = v.begin(Speak("It goes on and on, and it does not end. " * 100, response_format=format_))
        await until(lambda: bool(sink.pieces))
        assert sink.flow is not None
        sink.flow.pause()
        held = sum(map(len, sink.pieces))
        await asyncio.sleep(0.3)
        assert sum(map(len, sink.pieces)) == held and not sink.over.is_set()
        sink.flow.resume()
        async with asyncio.timeout(20):
            await sink.over.wait()
        assert len(sink.body) > 10 * held and len(sink.pieces) > 50


@pytest.mark.anyio
async def test_voices_differ() -> None:
    async with voice() as v:
        spectra = {}
        for name in VOICES:
            sound = np.frombuffer(await v.speak(voice=name), "<i2").astype(np.float64)
            spectrum = np.abs(np.fft.rfft(sound, 1 << 17))[:24_000].reshape(-1, 100).mean(axis=1)
            spectra[name] = spectrum / np.linalg.norm(spectrum)
        same = [(a, b) for a in VOICES for b in VOICES if a < b and spectra[a] @ spectra[b] > 0.985]
        assert not same


@pytest.mark.anyio
async def test_speed() -> None:
    async with voice() as v:
        lengths = [len(await v.speak(speed=s)) for s in (0.25, 0.7, 1.0, 1.5, 4.0)]
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[0] > 1.5 * lengths[2] > 3 * lengths[4] * 0.9


@pytest.mark.anyio
async def test_text_is_text() -> None:
    """Markup is read out, and control characters, by which espeak-ng takes commands, are spaces."""
    async with voice() as v:
        for text in (
            'hello <break time="30s"/> there',
            "<speak>hello</speak>",
            "[[h@l'oU]]",
            "a & b < c",
            "\U0001f600",
        ):
            assert 0.2 < len(await v.speak(text)) / 48_000 < 8, text
        plain = await v.speak("hello  80S there")
        assert len(await v.speak("hello \x0180S there")) == len(plain)
        assert len(await v.speak("hello \x0080S there")) == len(plain)
        assert len(await v.speak("...")) > 1000  # nothing to say, but a sound all the same


@pytest.mark.anyio
async def test_what_is_not_spoken() -> None:
    async with voice() as v:
        for job, param, code in (
            (Speak("x", voice="nobody"), "voice", "invalid_value"),
            (Speak("x", response_format="midi"), "response_format", "invalid_value"),
            (Speak("x", speed=0.2), "speed", "invalid_value"),
            (Speak("x", speed=4.1), "speed", "invalid_value"),
            (Speak(" \n\0"), "input", "string_below_min_length"),
            (Speak("x" * 4097), "input", "string_above_max_length"),
        ):
            assert await v.refusal(job) == (400, param, code)
        assert len(v.pool.pids) == 1


# ---- listening


@pytest.mark.anyio
async def test_what_is_spoken_is_understood() -> None:
    async with voice() as v:
        plain = await v.speak()
        files = {
            "mp3": await v.speak(format_="mp3"),
            "wav": await v.speak(format_="wav"),
            "opus": await v.speak(format_="opus"),
            "aac": await v.speak(format_="aac"),
            "webm": encoded(plain, "webm", "libopus"),
            "m4a": encoded(plain, "mp4", "aac", 44_100),
            "ogg": encoded(plain, "ogg", "libopus", 48_000, "mono"),
            "flac": encoded(plain, "flac", "flac", 44_100),
            "wav, 8 bits": encoded(plain, "wav", "pcm_u8", 22_050, "mono"),
        }
        for name, file in files.items():
            found = await v.transcribe(file)
            assert errors(words(SENTENCE), words(found["text"])) <= len(words(SENTENCE)) // 2, (name, found["text"])
            assert found["duration"] == pytest.approx(len(plain) / 48_000, abs=0.2)


@pytest.mark.anyio
async def test_the_shape_of_a_transcript() -> None:
    async with voice() as v:
        sound = await v.speak() + silence(1.5) + await v.speak("Please call me when you get home tonight.")
        found = await v.transcribe(encoded(sound, "webm", "libopus"), language="en-GB")
        assert list(found) == ["task", "language", "duration", "text", "segments", "words"]
        assert (found["task"], found["language"]) == ("transcribe", "english")
        assert [s["id"] for s in found["segments"]] == [0, 1]
        assert found["text"] == " ".join(s["text"] for s in found["segments"])
        assert found["text"].split() == [w["word"] for w in found["words"]]
        times = [t for w in found["words"] for t in (w["start"], w["end"])]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= found["duration"]
        first, second = found["segments"]
        assert first["end"] + 1.4 < second["start"] < second["end"]
        assert not any(c in found["text"] for c in "()<>[]")


@pytest.mark.anyio
async def test_a_transcript_as_it_comes() -> None:
    async with voice() as v:
        sound = await v.speak() + silence(1) + await v.speak("My sister works at a hospital in the city.")
        file = encoded(sound, "wav", "pcm_s16le", 24_000, "mono")
        answer = await v.ask(Transcribe(stream=True), file)
        assert (answer.status, answer.kind) == (200, b"text/event-stream")
        *events, rest = answer.body.split(b"\n\n")
        assert rest == b"" and all(e.startswith(b"data: ") for e in events)
        assert len(answer.pieces) == len(events) == 3
        *deltas, done = (msgspec.json.decode(e[6:]) for e in events)
        assert all(set(d) == {"type", "delta"} and d["type"] == "transcript.text.delta" for d in deltas)
        assert done["type"] == "transcript.text.done" and done["text"] == "".join(d["delta"] for d in deltas)
        assert done["usage"] == {"type": "duration", "seconds": round(len(sound) / 48_000, 2)}
        assert done["text"] == (await v.transcribe(file))["text"]


@pytest.mark.anyio
async def test_silence_says_nothing() -> None:
    async with voice() as v:
        found = await v.transcribe(encoded(silence(3), "wav", "pcm_s16le", 24_000, "mono"))
        assert (found["text"], found["segments"], found["words"]) == ("", [], [])
        answer = await v.ask(Transcribe(stream=True), encoded(silence(0.01), "wav", "pcm_s16le", 24_000, "mono"))
        assert answer.body.startswith(b'data: {"type":"transcript.text.done","text":""')


def no_sound(kind: str) -> bytes:
    """Files that are not sound, or not all of it."""
    if kind == "video":
        out = io.BytesIO()
        with av.open(out, "w", format="mp4") as file:
            stream: Any = file.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 64
            for _ in range(3):
                for packet in stream.encode(av.VideoFrame(64, 64, "yuv420p")):
                    file.mux(packet)
            for packet in stream.encode(None):
                file.mux(packet)
        return out.getvalue()
    return {
        "empty": b"",
        "one byte": b"R",
        "text": b"this is not sound, but it is long enough to be looked at. " * 100,
        "noise": random.Random(1).randbytes(100_000),
        "zeros": bytes(100_000),
        "header": encoded(silence(1), "wav", "pcm_s16le")[:44],
        "picture": b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(1000),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "list": b"ffconcat version 1.0\nfile /etc/hostname\n",
        "session": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n",
    }[kind]


@pytest.mark.anyio
async def test_what_is_no_sound() -> None:
    async with voice() as v:
        kinds = ("empty", "one byte", "text", "noise", "zeros", "header", "picture", "playlist", "list", "session")
        for kind in (*kinds, "video"):
            assert await v.refusal(Transcribe(), no_sound(kind)) == (400, "file", "invalid_audio"), kind
        assert len(v.pool.pids) == 1


@pytest.mark.anyio
async def test_what_is_not_written_down() -> None:
    async with voice() as v:
        pids_before = None
        for language in ("de", "german", "zh-CN", "enx"):
            found = await v.refusal(Transcribe(language=language), b"x")
            assert found == (400, "language", "unsupported_language")
            pids_before = pids_before or v.pool.pids
        assert await v.refusal(Transcribe(max_bytes=1000), bytes(2_000_000)) == (413, "file", "file_too_large")
        assert v.pool.pids == pids_before


@pytest.mark.anyio
async def test_a_small_file_with_hours_in_it() -> None:
    """It is refused as soon as it is too long, and takes no memory."""
    file = encoded(silence(600), "flac", "flac", 24_000, "mono")
    assert len(file) < 500_000
    async with voice() as v:
        assert await v.refusal(Transcribe(max_seconds=500), file) == (400, "file", "audio_too_long")
        assert peak_of(v.pool.pids[0]) < 250_000_000
        assert (await v.transcribe(file, max_seconds=601))["duration"] == 600


@pytest.mark.anyio
async def test_a_small_file_with_millions_of_samples_a_second() -> None:
    """What nobody records and takes many times longer to read is refused before it is read."""
    quiet = silence(0.2)
    async with voice() as v:
        for rate, layout in ((655_350, "7.1"), (352_800, "mono"), (48_000, "hexadecagonal")):
            kind = ("flac", "flac") if rate == 655_350 else ("wav", "pcm_s16le")
            file = encoded(quiet, *kind, rate, layout)
            assert await v.refusal(Transcribe(), file) == (400, "file", "invalid_audio"), (rate, layout)
        for rate, layout in ((192_000, "7.1"), (96_000, "5.1")):
            assert (await v.transcribe(encoded(quiet, "flac", "flac", rate, layout)))["text"] == ""


@pytest.mark.anyio
async def test_half_a_file_is_heard_as_far_as_it_goes() -> None:
    async with voice() as v:
        file = await v.speak(SENTENCE * 2, "mp3")
        found = await v.transcribe(file[: len(file) // 2])
        assert errors(words(SENTENCE), words(found["text"])) <= 4


@pytest.mark.anyio
async def test_a_grammar(tmp_path: Path) -> None:
    grammar = tmp_path / "light.gram"
    grammar.write_text("#JSGF V1.0;\ngrammar light;\npublic <order> = turn (on | off) the (light | radio);\n")
    async with voice() as v:
        file = await v.speak("Turn off the light.", "wav")
        assert (await v.transcribe(file, grammar=str(grammar)))["text"] == "turn off the light"
        with pytest.raises(UpstreamError) as e:
            await v.transcribe(file, grammar=str(tmp_path / "none.gram"))
        assert e.value.fault == Fault.RESET
        assert (await v.transcribe(file))["text"]
        assert len(v.pool.pids) == 1


# ---- the process


@pytest.mark.anyio
async def test_abort_in_the_middle_of_listening() -> None:
    async with voice() as v:
        file = await v.speak(SENTENCE * 20, "mp3")
        sink = v.begin(Transcribe(stream=True), file)
        await until(lambda: bool(sink.pieces), within=30)
        (pid,) = v.pool.pids
        assert sink.flow is not None
        sink.flow.abort()
        await until(lambda: not Path(f"/proc/{pid}").exists(), within=1)
        assert await v.speak("Hello.")


@pytest.mark.anyio
async def test_a_worker_that_is_killed_while_it_listens() -> None:
    async with voice() as v:
        file = await v.speak(SENTENCE * 20, "mp3")
        sink = v.begin(Transcribe(), file)
        await asyncio.sleep(0.5)
        os.kill(v.pool.pids[0], 9)
        await sink.over.wait()
        assert sink.error is not None and sink.error.fault in (Fault.RESET, Fault.CUT)
        assert await v.speak("Hello.")


@pytest.mark.anyio
async def test_what_is_no_job() -> None:
    async with voice() as v:
        sink = Sink()
        v.pool.send(b'{"job": "sing"}', None, sink)
        await sink.over.wait()
        assert sink.error is not None and "not a job" in sink.error.message
        assert await v.speak("Hello.")


@pytest.mark.anyio
async def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['lameenc'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with voice() as v:
        with pytest.raises(UpstreamError) as e:
            await v.speak()
        assert e.value.fault == Fault.REFUSED
        assert e.value.message == "the offline models lack lameenc: pip install 'switchboard[offline]'"


NEEDED = {"av", "espeakng_loader", "lameenc", "numpy", "pocketsphinx", "soxr"}


@pytest.mark.parametrize(
    ("code", "loads"),
    [
        ("import switchboard.app, switchboard.net.worker, switchboard.providers.offline.studio.jobs", set()),
        (
            "from switchboard.providers.offline.studio.speak import Speaker as S\n"
            "from switchboard.providers.offline.studio.encode import encoder_for\n"
            "from switchboard.providers.offline.studio.jobs import Speak\n"
            "e, s = encoder_for('mp3'), S()\n"
            "s.say(s.prepare(Speak('x')), e.feed)",
            {"espeakng_loader", "lameenc", "numpy", "soxr"},
        ),
    ],
)
def test_nothing_is_loaded_before_it_is_needed(code: str, loads: set[str]) -> None:
    out = subprocess.check_output([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], text=True)
    assert NEEDED & set(out.split()) == loads


# ---- utterances


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=12))
def test_utterances(runs: list[tuple[bool, int]]) -> None:
    """They follow one another, are bounded, and hold all speech but what is too short to be any."""
    speech = [s for s, n in runs for _ in range(n)]
    frames = [n.to_bytes(2, "little") * 4 for n in range(len(speech))]
    flags = dict(zip(frames, speech, strict=True))
    end = 0
    held: set[int] = set()
    for u in utterances(frames, lambda frame: flags[frame]):
        count = len(u.sound) // 8
        assert u.start >= end and 0 < count <= 667
        assert u.sound == b"".join(frames[u.start : u.start + count])
        end = u.start + count
        held |= set(range(u.start, end))
    at = 0
    for is_speech, n in runs:
        if is_speech and n >= 3:
            assert held >= set(range(at, at + n))
        at += n
