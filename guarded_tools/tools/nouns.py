"""What tools are about, as the nouns of their names say: who wrote it, whose it is, and whether others see it."""

from __future__ import annotations

from guarded_tools.tools.words import vocabulary

# What people write who are neither the user nor asked by him: on the web, into his inbox, onto his shared boards, for
# the purpose of a payment.
STRANGERS = vocabulary(
    "activity advisories advisory answer answers article articles attachment attachments blame blob block blocks blog "
    "board boards body book books card cards chat chats code comment comments commit commits console content contents "
    "context conversation conversations customer customers diff discussion discussions dispute disputes doc docs "
    "document documentation documents dom email emails episode episodes error errors event events exception "
    "exceptions fact facts feed feedback feeds file files form gist gists history html image inbox incident incidents "
    "internet invitation invitations issue issues item items lead leads log logs mail mailbox mails markdown meeting "
    "meetings mention mentions merge message messages news note notes notification notifications output page pages "
    "paper papers patch pdf post posts pr prs pull question questions reaction reactions recording recordings release "
    "releases replies reply repo repos repositories repository request requests resource resources response responses "
    "result results resume review reviews rss screenshot search snapshot snippet snippets song songs stories story "
    "stream submission submissions subtitles survey task tasks text thread threads ticket tickets timeline todo todos "
    "track tracks transaction transactions transcript transcripts tweet tweets unreads video videos web webpage "
    "webpages website websites wiki"
)

# What machines count, or the user and the company themselves set up: no stranger gets a sentence into it.
OWN = vocabulary(
    "account accounts admin admins allowed apikey availability balance balances billing bucket buckets budget budgets "
    "calendar calendars call calls campaign campaigns capabilities capability categories category channel channels "
    "charge charges chart charts cities city cluster clusters collection collections column columns compute computes "
    "config configs configuration configurations connection contact contacts container containers coordinates cost "
    "costs count countries country counts coupon coupons credential credentials currencies currency cycle cycles "
    "dashboard dashboards database databases datasource datasources date dates deal deals definition definitions "
    "deployment deployments device devices directions directories directory distance employee employees endpoint "
    "endpoints enum env environment environments execution executions extension extensions fee fees field fields flag "
    "flags flow flows folder folders forecast freebusy function functions funnel geocode group groups health host "
    "hosts instance instances inventory invoice invoices job jobs key keys languages lease leave limit limits locale "
    "location locations me member members metadata methods metric metrics migration migrations model models monitor "
    "monitors namespace namespaces network networks node nodes oncall oncalls option options order orders org "
    "organisation organisations organization organizations payment payments payout payouts payroll permission "
    "permissions pipeline pipelines plan plans plugin plugins pod pods policies policy preference preferences preset "
    "presets price prices product products profile profiles project projects properties property quota quotas rate "
    "rates refund refunds region regions role roles route routes rule rules run runs scene schedule schedules schema "
    "schemas score scores secret secrets segment segments seo server service services setting settings settlement "
    "settlements shift shifts shipment size slot slots space spaces sprint sprints stack state states statistics "
    "stats status string subscription subscriptions sum table tables tax team teams template templates time times "
    "timesheet timezone timezones token tokens tool tools type types usage user users variable variables version "
    "versions volume volumes warehouse warehouses weather worker workers workflow workflows workspace workspaces zone "
    "zones"
)

# What a search finds in some catalogue: what people and firms say of themselves and of their things.
STRANGE_WHEN_FOUND = vocabulary(
    "asset assets companies company extension extensions model models node nodes number org organization organizations "
    "orgs package packages people person phone plugin plugins profile profiles template templates user users"
)

# At the end of a name they say that it is not the thing itself that is shown: `list_issue_types`, `get_file_metadata`.
FACETS = vocabulary(
    "categories category count counts limit limits metadata metrics permission permissions quota settings size stats "
    "statistics status type types"
)

# What is on the web, where an address is taken: no more private than the address.
WEB = vocabulary(
    "article content contents feed html http https image link links markdown metadata page pages pdf site sitemap "
    "structured text url urls web webpage webpages website websites"
)

# What is there for everybody, so that knowing it tells nothing about the user.
PUBLIC = vocabulary(
    "arxiv cities city coordinates countries country cpe currencies currency cve directions distance documentation "
    "example examples exchange forecast geocode help holiday holidays internet locale maps movie movies news npm "
    "paper papers places preset presets public pypi stock stocks time timezone timezones weather web webpage webpages "
    "website websites wikipedia youtube"
)
# Of these, the ones that mean it wherever they stand; `get_time_entries` are nobody's but the user's.
ALWAYS_PUBLIC = vocabulary("arxiv directions forecast geocode npm pypi weather wikipedia")
# What is never public, whatever stands beside it: `get_public_profile_of_my_account`.
PERSONAL = vocabulary(
    "account accounts calendar contact contacts customer customers email emails inbox internal invoice invoices mail "
    "mailbox me message messages my order orders payment payments private project projects team teams transaction "
    "transactions user workspace workspaces"
)

SECRETS = vocabulary(
    "apikey apikeys cookie cookies credential credentials env envs envvar envvars kubeconfig otp passphrase password "
    "passwords passwd secret secrets totp vault"
)
# Of these, what stands before says whether they open something: `api_keys`, but not `redis_keys`.
OPENING = vocabulary("certificate certificates key keys token tokens variable variables")
OPENS = vocabulary(
    "access api auth bearer bot ci client deploy encryption environment group license oauth private project "
    "publishable root secret service session signing ssh"
)

# What stays with the user when it changes: his own marks, drafts and memories, and what lies on his machine.
INSIDE = vocabulary(
    "alias bookmark bookmarks clipboard collection collections column columns database directory draft drafts "
    "entities entity file files folder folders index indexes lease local memories memory observations process "
    "processes read record records relations row rows schema star stars table tables thought thoughts todo todos "
    "unread"
)
# What is changed with these is who may see something: never the user's own business.
ACCESS = vocabulary(
    "access acl collaborator collaborators owner permission permissions public role roles sharing visibility"
)
# Whose parameters say that the place is one that others see, too.
SHARED_PLACES = vocabulary(
    "board branch bucket channel chat cluster commit group guild namespace org organization owner project pull repo "
    "repository room server site space team workspace"
)
RECIPIENTS = vocabulary(
    "addressee assignee assignees attendee attendees audience bcc cc channel chat guests invitees mentions "
    "participants phone receiver recipient recipients reviewer reviewers subscribers to"
)
