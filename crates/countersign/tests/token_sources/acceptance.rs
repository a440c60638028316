//! Which test proves which acceptance case. A case without a test, or a test that went away, fails
//! here.

const FILE: &str = include_str!("file.rs");
const GRANTS: &str = include_str!("grants.rs");
const EXCHANGE: &str = include_str!("token_exchange.rs");
const SELF_SIGNED: &str = include_str!("self_signed.rs");
const PLUMBING: &str = include_str!("plumbing.rs");
const ASKING: &str = include_str!("../call_credentials/asking.rs");
const AUTHORITY: &str = include_str!("../call_credentials/authority.rs");
const FAILING: &str = include_str!("../call_credentials/failing.rs");
const METADATA: &str = include_str!("../call_credentials/metadata.rs");
const TRAVEL: &str = include_str!("../call_credentials/travel.rs");
const CACHE: &str = include_str!("../../src/credentials/cache/tests.rs");
const AUDIENCE: &str = include_str!("../../src/credentials/call.rs");
const CHANNEL: &str = include_str!("../../src/credentials/channel.rs");

const CASES: [(&str, &str, &str); 59] = [
    ("JW-01", FILE, "jw_01_an_empty_path_is_refused_and_a_missing_file_is_not"),
    ("JW-02", PLUMBING, "jw_02_a_token_arrives_exactly_once_either_way"),
    ("JW-03", PLUMBING, "over_plaintext_nothing_leaves_and_no_source_is_asked"),
    ("JW-04", TRAVEL, "tls_with_credentials_cannot_be_pointed_at_a_plaintext_target"),
    // Its documentation has what does not compile, as a test.
    ("JW-04", CHANNEL, "insecure"),
    ("JW-05", TRAVEL, "a_bearer_token_and_an_api_key_never_leave_over_plaintext"),
    ("JW-06", FILE, "jw_06_a_missing_file_is_unavailable"),
    ("JW-07", FILE, "jw_07_and_08_what_is_no_token_is_unauthenticated"),
    ("JW-08", FILE, "jw_07_and_08_what_is_no_token_is_unauthenticated"),
    ("JW-09", FILE, "jw_09_a_new_file_waits_for_its_turn"),
    ("JW-10", FILE, "jw_10_calls_wait_for_a_new_token_from_thirty_seconds_before_the_end"),
    ("JW-11", FILE, "jw_11_near_its_end_a_token_is_replaced_and_no_call_waits"),
    ("JW-12", FILE, "jw_12_a_missing_file_is_looked_for_as_the_back_off_allows"),
    ("JW-13", FILE, "jw_13_white_space_around_a_token_is_left_out"),
    ("JW-14", FILE, "jw_14_a_file_that_is_gone_in_the_last_minute_is_looked_for_a_few_times"),
    ("JW-15", FILE, "jw_15_a_deadline_ends_a_call_whose_file_hangs_and_others_go_on"),
    ("ST-01", GRANTS, "st_01_an_endpoint_is_an_https_url_or_on_this_machine"),
    ("ST-01", EXCHANGE, "st_01_a_subject_needs_a_type_and_a_file_needs_a_path"),
    ("ST-02", EXCHANGE, "st_02_and_11_all_parameters_are_in_the_form"),
    ("ST-03", EXCHANGE, "st_03_what_is_not_asked_for_is_left_out"),
    ("ST-04", EXCHANGE, "st_04_and_05_a_token_is_used_for_as_long_as_it_lasts"),
    ("ST-05", EXCHANGE, "st_04_and_05_a_token_is_used_for_as_long_as_it_lasts"),
    ("ST-06", PLUMBING, "over_plaintext_nothing_leaves_and_no_source_is_asked"),
    ("ST-07", GRANTS, "st_07_answers_that_are_none_are_errors"),
    ("ST-07", EXCHANGE, "st_07_an_answer_with_another_type_of_token_is_an_error"),
    ("ST-07", EXCHANGE, "st_07_an_answer_that_breaks_off_is_an_error"),
    ("ST-08", EXCHANGE, "st_08_without_its_subject_or_its_actor_nothing_is_sent"),
    ("ST-09", EXCHANGE, "st_09_a_redirect_is_an_error_and_its_target_hears_nothing"),
    ("ST-10", CACHE, "the_end_is_the_sources_word_else_exp_else_five_minutes"),
    ("ST-11", EXCHANGE, "st_02_and_11_all_parameters_are_in_the_form"),
    ("ID-01", SELF_SIGNED, "id_01_an_empty_audience_is_an_error_before_anything_is_signed_or_sent"),
    ("ID-02", GRANTS, "id_02_what_an_endpoint_says_decides_between_later_and_never"),
    ("ID-03", CACHE, "a_transient_failure_is_remembered_for_its_back_off_and_no_longer"),
    ("ID-04", CACHE, "a_transient_failure_is_remembered_for_its_back_off_and_no_longer"),
    ("ID-05", CACHE, "ten_thousand_first_callers_cause_one_fetch_and_share_its_result"),
    ("ID-06", CACHE, "in_the_advisory_window_one_fetch_runs_and_no_call_waits"),
    ("ID-07", PLUMBING, "over_plaintext_nothing_leaves_and_no_source_is_asked"),
    ("OA-01", SELF_SIGNED, "oa_01_the_audience_is_the_host_with_a_slash"),
    // An audience that is no URI cannot arise: the authority was parsed before.
    ("OA-02", AUTHORITY, "a_call_may_be_addressed_to_what_the_servers_certificate_vouches_for"),
    ("CC-01", METADATA, "text_and_binary_metadata_arrive_as_they_were_given"),
    ("CC-02", METADATA, "text_and_binary_metadata_arrive_as_they_were_given"),
    // Ours replace and do not add up: exactly one `authorization` leaves.
    ("CC-03", METADATA, "credentials_of_a_call_replace_those_of_the_channel"),
    ("CC-04", METADATA, "metadata_that_may_not_be_sent_fails_the_call_and_names_its_key"),
    ("CC-05", FAILING, "a_failure_keeps_its_code_and_text_unless_the_code_belongs_to_applications"),
    ("CC-06", FAILING, "a_failure_keeps_its_code_and_text_unless_the_code_belongs_to_applications"),
    ("CC-07", FAILING, "a_failure_without_a_code_is_unavailable_or_unauthenticated_by_its_kind"),
    ("CC-08", ASKING, "credentials_know_the_call_they_are_asked_for"),
    ("CC-08", ASKING, "credentials_are_asked_after_there_is_a_connection_and_once_for_each_call"),
    ("CC-09", METADATA, "text_and_binary_metadata_arrive_as_they_were_given"),
    ("CC-10", AUDIENCE, "the_audience_leaves_out_the_https_port_and_the_method"),
    ("CC-11", METADATA, "metadata_that_may_not_be_sent_fails_the_call_and_names_its_key"),
    ("CC-12", TRAVEL, "tls_alone_both_and_credentials_alone_work"),
    // Our channel has no retry policy of its own.
    ("CC-13", FAILING, "a_failed_call_is_not_tried_again_and_the_next_one_asks_anew"),
    (
        "SL-01",
        TRAVEL,
        "credentials_travel_over_connections_that_protect_them_and_are_not_asked_over_others",
    ),
    ("SL-02", PLUMBING, "sl_01_to_05_a_level_passes_where_it_is_enough"),
    ("SL-03", PLUMBING, "sl_01_to_05_a_level_passes_where_it_is_enough"),
    ("SL-04", PLUMBING, "sl_01_to_05_a_level_passes_where_it_is_enough"),
    // There is always a level: what does not say counts as `NoSecurity`.
    ("SL-05", PLUMBING, "sl_01_to_05_a_level_passes_where_it_is_enough"),
    (
        "SL-05",
        TRAVEL,
        "credentials_travel_over_connections_that_protect_them_and_are_not_asked_over_others",
    ),
];

#[test]
fn each_acceptance_case_has_a_test() {
    for (id, file, name) in CASES {
        assert!(file.contains(&format!("fn {name}(")), "{id}: there is no test `{name}`");
    }
    let proven: Vec<&str> = CASES.iter().map(|(id, _, _)| *id).collect();
    for (area, cases) in [("JW", 15), ("ST", 11), ("ID", 7), ("OA", 2), ("CC", 13), ("SL", 5)] {
        for case in 1..=cases {
            let id = format!("{area}-{case:02}");
            assert!(proven.contains(&id.as_str()), "{id} has no test");
        }
    }
}
