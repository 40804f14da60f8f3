"""The rules that the sandbox shares with the real account."""

import pytest

from guarded_tools.pictify.sandbox.answers import Refused

STATUSES = ["draft", "running", "paused", "completed"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(
    ("tool", "more", "becomes"),
    [
        ("start_experiment", {}, {"draft": "running", "paused": "running"}),
        ("pause_experiment", {}, {"running": "paused"}),
        ("complete_experiment", {"winnerVariantId": "b"}, {"running": "completed", "paused": "completed"}),
    ],
)
def test_every_change_of_status_is_permitted_or_a_conflict(customer, status, tool, more, becomes):
    uid = customer.experiment(status)
    if status in becomes:
        assert f"Status: {becomes[status]}" in customer(tool, experimentId=uid, **more)
        assert customer.status(uid) == becomes[status]
    else:
        assert customer.refused(tool, experimentId=uid, **more) == 409
        assert customer.status(uid) == status


@pytest.mark.parametrize("status", STATUSES)
def test_only_a_running_experiment_cannot_be_deleted(customer, status):
    uid = customer.experiment(status)
    if status == "running":
        assert customer.refused("delete_experiment", experimentId=uid) == 409
    else:
        customer("delete_experiment", experimentId=uid)
        assert customer.refused("get_experiment", experimentId=uid) == 404


def test_a_winner_has_to_be_a_variant(customer):
    uid = customer.experiment("running")
    assert customer.refused("complete_experiment", experimentId=uid, winnerVariantId="c") == 400
    customer("complete_experiment", experimentId=uid, winnerVariantId="b")
    assert customer.read("get_experiment", experimentId=uid)["winnerVariantId"] == "b"


CHANGES = {
    "name": "New",
    "confidenceThreshold": 0.9,
    "minimumRunDays": 3,
    "goalConfig": {"destinationUrl": "https://x.example"},
    "hypothesis": "h",
    "slug": "another",
    "variants": [{"id": "x", "weight": 10000}, {"id": "y", "weight": 0}],
    "banditConfig": {"enabled": True},
}
WHILE_RUNNING = {"name", "confidenceThreshold", "minimumRunDays", "goalConfig"}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("field", CHANGES)
def test_what_can_be_changed_in_which_status(customer, status, field):
    uid = customer.experiment(status, goalConfig={"type": "click_through"})
    allowed = {"draft": set(CHANGES), "paused": set(CHANGES), "running": WHILE_RUNNING, "completed": {"name"}}
    change = {field: CHANGES[field]}
    if field in allowed[status]:
        customer("update_experiment", experimentId=uid, **change)
        row = customer.read("get_experiment", experimentId=uid)
        assert change[field] in (
            row[field],
            {"destinationUrl": row[field].get("destinationUrl")} if field == "goalConfig" else None,
        )
    else:
        assert customer.refused("update_experiment", experimentId=uid, **change) == 409


def test_of_a_running_experiments_goal_only_the_destination_can_change(customer):
    uid = customer.experiment("running", goalConfig={"type": "click_through"})
    assert customer.refused("update_experiment", experimentId=uid, goalConfig={"type": "impressions_only"}) == 409
    customer("update_experiment", experimentId=uid, goalConfig={"destinationUrl": "https://x.example"})
    goal = customer.read("get_experiment", experimentId=uid)["goalConfig"]
    assert goal == {"type": "click_through", "destinationUrl": "https://x.example"}


@pytest.mark.parametrize(
    ("slug", "status"),
    [
        ("ab", 400),
        ("a" * 61, 400),
        ("Hero", 400),
        ("he ro", 400),
        ("héro", 400),
        ("hero\n", 400),
        ("", 400),
        ("taken", 409),
    ],
)
def test_slugs_that_are_refused(customer, slug, status):
    customer.experiment(slug="taken")
    with pytest.raises(Exception, match=rf"Error \({status}\)"):
        customer.experiment(slug=slug)
    uid = customer.experiment(slug="mine")
    assert customer.refused("update_experiment", experimentId=uid, slug=slug) == status


@pytest.mark.parametrize("slug", ["events", "api", "admin", "health", "status", "pixel", "track", "sdk"])
def test_a_reserved_slug_is_refused_by_the_server_itself_and_upstream_when_it_is_changed_to(customer, slug):
    before = customer.everything()
    with pytest.raises(Refused) as refused:
        customer.experiment(slug=slug)
    assert str(refused.value) == f"Error: The slug {slug} is reserved."
    assert customer.everything() == before
    uid = customer.experiment(slug="mine")
    assert customer.refused("update_experiment", experimentId=uid, slug=slug) == 400


@pytest.mark.parametrize("slug", ["abc", "a" * 60, "0-9", "---", "events2"])
def test_slugs_that_are_fine(customer, slug):
    customer.experiment(slug=slug)


def test_a_slug_is_free_again_when_its_experiment_is_deleted_or_renamed(customer):
    uid = customer.experiment(slug="one")
    customer("update_experiment", experimentId=uid, slug="two")
    other = customer.experiment(slug="one")
    customer("delete_experiment", experimentId=uid)
    customer("update_experiment", experimentId=other, slug="two")


@pytest.mark.parametrize("weights", [(5000, 4999), (10000, 1), (5000, 5000.5), (0, 0)])
def test_weights_make_exactly_ten_thousand(customer, weights):
    variants = [{"id": str(n), "weight": weight} for n, weight in enumerate(weights)]
    with pytest.raises(Refused, match=r"^Error: The weights .* have to make 10000"):
        customer.experiment(variants=variants)
    # Before it asks upstream, so before anybody could say that there is no such experiment.
    with pytest.raises(Refused, match=r"^Error: The weights"):
        customer("update_experiment", experimentId="nope", variants=variants)


def test_variants_differ_and_their_templates_exist(customer):
    with pytest.raises(Exception, match="not unique"):
        customer.experiment(variants=[{"id": "a", "weight": 5000}] * 2)
    with pytest.raises(Exception, match="no template tpl_9"):
        customer.experiment(variants=[{"id": "a", "weight": 5000}, {"id": "b", "weight": 5000, "templateUid": "tpl_9"}])


def test_events_are_counted_one_by_one_and_errors_told_by_position(customer):
    uid = customer.experiment("running", slug="live")
    customer.experiment("draft", slug="sketch")
    events = [
        {"event": "click", "experiment": "live"},
        {"event": "click", "experiment": uid},
        {"event": "view", "experiment": "live", "variantId": "a"},
        {"event": "view", "experiment": "live", "variantId": "z"},
        {"event": "click", "experiment": "sketch"},
    ]
    assert customer("track_experiment_events", events=events).splitlines() == [
        "Processed 2 of 5 events.",
        f"events[1]: there is no experiment with the slug {uid}",
        "events[3]: experiment live has no variant z",
        "events[4]: experiment sketch is draft, not running",
    ]
    assert customer.read("get_experiment", experimentId=uid)["counts"] == {"click": 1, "view": 1}


def test_upstream_takes_a_thousand_event_requests_a_minute(customer):
    customer.experiment("running", slug="live")
    one = [{"event": "click", "experiment": "live"}]
    for _ in range(1000):
        customer("track_experiment_events", events=one)
    with pytest.raises(Exception, match=r"Error \(429\)(.|\n)*Rate limited\. Retry after 61 seconds\."):
        customer("track_experiment_events", events=one)
    customer.time += 61
    customer("track_experiment_events", events=one)


def batch(customer, size=10):
    sets = [{"headline": str(n)} for n in range(size)]
    text = customer("batch_render", templateId="tpl_000001", variableSets=sets, concurrency=1)
    return text.splitlines()[1].removeprefix("ID: ")


def test_a_batch_runs_in_the_background(customer):
    uid = batch(customer)
    seen = []
    for _ in range(4):
        row = customer.read("get_batch_results", batchId=uid)
        seen.append((row["status"], row["done"], len(row["urls"])))
        customer.time += 0.7
    assert seen == [("pending", 0, 0), ("processing", 3, 3), ("processing", 7, 7), ("completed", 10, 10)]
    assert customer.refused("cancel_batch", batchId=uid) == 409


def test_a_cancelled_batch_keeps_what_is_finished_and_does_not_go_on(customer):
    uid = batch(customer)
    customer.time += 1
    assert "Finished items kept: 5 of 10" in customer("cancel_batch", batchId=uid)
    customer.time += 100
    row = customer.read("get_batch_results", batchId=uid)
    assert (row["status"], row["done"]) == ("cancelled", 5)
    assert customer.refused("cancel_batch", batchId=uid) == 409


@pytest.mark.parametrize(("seconds", "status", "done"), [(0, "failed", 0), (1, "partial", 5), (9, "completed", 10)])
def test_deleting_a_template_breaks_the_batches_that_use_it(customer, seconds, status, done):
    uid = batch(customer)
    customer.time += seconds
    customer("delete_template", templateId="tpl_000001")
    customer.time += 50
    row = customer.read("get_batch_results", batchId=uid)
    assert (row["status"], row["done"], row["failed"]) == (status, done, 10 - done)


def test_deleting_a_template_breaks_the_experiments_that_use_it(customer):
    uid = customer.experiment(templateUid="tpl_000001")
    customer("delete_template", templateId="tpl_000001")
    assert customer.refused("start_experiment", experimentId=uid) == 409
    for tool, more in (
        ("get_template", {}),
        ("delete_template", {}),
        ("render_template", {}),
        ("render_pdf", {}),
        ("batch_render", {"variableSets": [{}]}),
    ):
        assert customer.refused(tool, templateId="tpl_000001", **more) == 404


@pytest.mark.parametrize("tool", ["create_image", "create_gif"])
def test_html_url_and_template_exclude_each_other(customer, tool):
    sources = {"html": "<p>", "url": "https://x.example", "template": "tpl_000001"}
    assert customer.refused(tool) == 400
    assert customer.refused(tool, html="<p>", url="https://x.example") == 400
    assert customer.refused(tool, **sources) == 400
    assert customer.refused(tool, template="tpl_9") == 404
    for name, value in sources.items():
        assert "URL: https://" in customer(tool, **{name: value})


def test_renders_use_up_the_quota(customer):
    used = customer.read("get_experiment_quota")["rendersUsed"]
    customer("render_multi_page_pdf", templateId="tpl_000003", variableSets=[{}] * 40)
    customer("render_template", templateId="tpl_000001", layouts=["a", "b"])
    assert customer.read("get_experiment_quota")["rendersUsed"] == used + 42
    for _ in range(99):
        customer("batch_render", templateId="tpl_000001", variableSets=[{}] * 100)
    assert customer.refused("batch_render", templateId="tpl_000001", variableSets=[{}] * 100) == 402


def test_what_was_made_can_be_looked_up_by_its_own_kind(customer):
    customer("capture_gif", url="https://x.example")
    customer("create_canvas_image", fabricJSData={})
    assert customer.read("get_gif", gifId="gif_000001")["kind"] == "gif"
    assert customer.refused("get_image", imageId="gif_000001") == 404
    assert [row["id"] for row in customer.read("list_images", limit=1)["images"]] == ["img_000002"]
    assert [row["id"] for row in customer.read("list_images", offset=1)["images"]] == ["img_000001"]


def test_lists_are_paged_sorted_and_filtered(customer):
    names = [row["name"] for row in customer.read("list_templates", sort="name")["templates"]]
    assert names == ["Invoice", "Product card", "Welcome banner"]
    assert len(customer.read("list_templates", outputFormat="pdf")["templates"]) == 1
    second = customer.read("list_templates", sort="oldest", limit=2, page=2)
    assert ([row["name"] for row in second["templates"]], second["total"]) == (["Invoice"], 3)
    customer.experiment("running", slug="one")
    customer.experiment(slug="two", type="smart_link")
    assert customer.read("list_experiments", status="running")["total"] == 1
    assert customer.read("list_experiments", type="smart_link")["total"] == 1


def test_a_template_can_be_made_and_changed(customer):
    customer("create_template", name="T", html="x", variableDefinitions=[{"name": "v", "type": "text"}])
    assert customer.read("get_template_variables", templateId="tpl_000004")["variables"] == [
        {"name": "v", "type": "text"}
    ]
    assert "html, name" in customer("update_template", templateId="tpl_000004", name="U", html="y")
    assert customer.read("get_template", templateId="tpl_000004")["name"] == "U"


def test_pdf_presets(customer):
    (first, *_) = customer.read("list_pdf_presets")["presets"]
    assert "Pages: 1" in customer("render_pdf", templateId="tpl_000003", preset=first["name"])
    assert customer.refused("render_pdf", templateId="tpl_000003", preset="B7") == 400
