"""A source that anybody on the cable could play stands in the month's report (rows 91 and 92)."""

import json

from enrolled_month import EnrolledMonth

from gateway.bundle import read
from gateway.verify import verify


def test_a_month_names_its_sources_without_authentication(tmp_path):
    month = EnrolledMonth(tmp_path)
    path = month.make()
    report = json.loads(read(path).files["report.json"])
    (told,) = [one for one in report["reservations"] if "without authentication" in one]
    assert "potroom (opcua, insecure: true)" in told
    assert "rectifier-1 (modbus tcp)" in told
    verdict = verify(path, month.trust())
    assert verdict.proven, verdict.difference
    assert f"9 reservation   {told}" in verdict.lines
    month.close()
